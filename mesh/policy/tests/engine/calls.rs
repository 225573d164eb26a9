//! Whole calls: rules, deadlines, retries, and endpoints that fail.

use std::{collections::HashMap, time::Duration};

use weft_model::dataplane::{Endpoint, RetryThrottling};
use weft_policy::{Engine, Failure, Next, Outcome, PATIENCE, Pick, Reason, RequestFacts, code};

use crate::world::{AUTHORITY, World, target, unavailable};

#[test]
fn the_first_rule_that_matches_gives_deadline_and_name() {
    let mut world = World::new(1);
    let get = world.call("Get");
    assert_eq!(&*get.record.rule, "a.Carts/Get");
    assert_eq!(
        get.deadline.remaining(world.now),
        Some(Duration::from_secs(2))
    );
    let add = world.call("Add");
    assert_eq!(&*add.record.rule, "*");
    assert_eq!(
        add.deadline.remaining(world.now),
        Some(Duration::from_secs(5))
    );
}

#[test]
fn an_unknown_authority_is_told_from_a_missing_configuration() {
    let facts = RequestFacts {
        authority: "nobody:1",
        path: "/a.B/C",
        ..RequestFacts::default()
    };
    let mut world = World::new(1);
    let known = world
        .engine
        .admit(facts, world.now, &mut world.rng)
        .unwrap_err();
    assert_eq!(known.reason, Reason::UnknownService);
    let empty = Engine::default()
        .admit(facts, world.now, &mut world.rng)
        .unwrap_err();
    assert_eq!(empty.reason, Reason::NoConfiguration);
}

#[test]
fn who_writes_a_service_s_name_otherwise_is_told_how_the_mesh_writes_it() {
    let mut world = World::new(1);
    for (authority, hint) in [
        ("carts", "; is `carts:7070` meant?"),
        (
            "carts.shop.svc.cluster.local:80",
            "; is `carts:7070` meant?",
        ),
        ("cart:7070", ""),
    ] {
        let facts = RequestFacts {
            authority,
            path: "/a.B/C",
            ..RequestFacts::default()
        };
        let refused = world.engine.admit(facts, world.now, &mut world.rng);
        let message = format!("the mesh has no service `{authority}`{hint}");
        assert_eq!(refused.unwrap_err().message, message);
    }
}

#[test]
fn a_policy_retry_goes_to_another_endpoint_and_ends_after_three_attempts() {
    let mut world = World::new(3);
    let mut call = world.call("Get");
    let mut tried = Vec::new();
    for attempt in 1..=3 {
        let endpoint = world.picked(&mut call);
        let address = endpoint.endpoint.address;
        assert!(!tried.contains(&address), "{address} again");
        let next = world.end(&mut call, endpoint, &unavailable());
        assert_eq!(next == Next::Forward, attempt == 3, "{next:?}");
        tried.push(address);
    }
    assert_eq!(call.record.attempts, 3);
}

#[test]
fn a_method_without_a_policy_is_sent_once_even_if_its_connection_breaks() {
    let mut world = World::new(3);
    let broken = |_: &Endpoint| Outcome::Broken(Failure::new(Reason::UpstreamReset, "gone"));
    let (call, failure) = world.run("Add", broken);
    assert_eq!(failure.unwrap().reason, Reason::UpstreamReset);
    assert_eq!(call.record.attempts, 1);
    let (call, failure) = world.run("Get", broken);
    assert!(failure.is_some());
    assert_eq!(call.record.attempts, 3);
}

#[test]
fn a_hop_that_repeats_already_is_not_multiplied() {
    let mut world = World::new(3);
    let facts = RequestFacts {
        authority: AUTHORITY,
        path: "/a.Carts/Get",
        is_retry: true,
        ..RequestFacts::default()
    };
    let mut call = world
        .engine
        .admit(facts, world.now, &mut world.rng)
        .unwrap();
    let endpoint = world.picked(&mut call);
    assert_eq!(
        world.end(&mut call, endpoint, &unavailable()),
        Next::Forward
    );
}

#[test]
fn what_reached_nobody_tries_every_other_endpoint_at_once() {
    let mut world = World::new(4);
    let started = world.now;
    let (call, failure) = world.run("Add", |endpoint| match endpoint.address.port() {
        4 => Outcome::Headers,
        _ => Outcome::ConnectFailed("refused".to_owned()),
    });
    assert_eq!(failure, None);
    assert_eq!(call.record.attempts, 1);
    assert!(call.record.transparent_retries <= 3);
    assert_eq!(world.now, started);
}

#[test]
fn an_outage_of_all_endpoints_is_waited_out_for_the_patience_and_no_longer() {
    let mut world = World::new(2);
    let started = world.now;
    let (call, failure) = world.run("Add", |_| Outcome::ConnectFailed("refused".to_owned()));
    assert_eq!(failure.unwrap().reason, Reason::UpstreamConnectFailed);
    let took = world.now - started;
    assert!(took <= PATIENCE && took > PATIENCE / 4, "{took:?}");
    assert_eq!(call.record.attempts, 0);
    assert!(call.record.transparent_retries < 20);
}

#[test]
fn an_endpoint_that_appears_within_the_patience_takes_the_call() {
    let mut world = World::new(0);
    let mut call = world.call("Add");
    assert!(matches!(
        world.engine.pick(&mut call, world.now, &mut world.rng),
        Pick::Wait(until) if until == world.now + PATIENCE
    ));
    world.now += PATIENCE / 2;
    world.set(1);
    world.picked(&mut call);
    world.set(0);
    let mut call = world.call("Add");
    let _ = world.engine.pick(&mut call, world.now, &mut world.rng);
    world.now += PATIENCE;
    let picked = world.engine.pick(&mut call, world.now, &mut world.rng);
    assert!(matches!(picked, Pick::Fail(failure) if failure.reason == Reason::NoHealthyEndpoint));
}

#[test]
fn an_endpoint_that_keeps_failing_gets_no_calls_until_its_ejection_ends() {
    let mut world = World::new(2);
    let sick = |endpoint: &Endpoint| match endpoint.address.port() {
        1 => unavailable(),
        _ => Outcome::Headers,
    };
    for _ in 0..40 {
        world.run("Add", sick);
    }
    let mut served = HashMap::new();
    for _ in 0..40 {
        let (call, _) = world.run("Add", sick);
        *served.entry(call.record.instance().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(served, [("carts-2".to_owned(), 40)].into());

    world.now += Duration::from_secs(31);
    let mut served = HashMap::new();
    for _ in 0..40 {
        let (call, _) = world.run("Add", |_| Outcome::Headers);
        *served.entry(call.record.instance().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(served.len(), 2, "{served:?}");
}

#[test]
fn a_retry_that_would_begin_after_the_deadline_is_not_made() {
    let mut world = World::new(2);
    let mut call = world.call("Get");
    let endpoint = world.picked(&mut call);
    world.now += Duration::from_millis(1950);
    assert_eq!(
        world.end(&mut call, endpoint, &unavailable()),
        Next::Forward
    );
    assert_eq!(call.record.attempts, 1);
}

/// Gives the target a retry budget that successes do not refill.
fn throttled(world: &mut World, max_tokens: u32) {
    let mut throttled = target(2);
    throttled.retry_throttling = Some(RetryThrottling {
        max_tokens,
        token_ratio_permille: 0,
    });
    throttled.outlier_detection = None;
    world.configure([throttled]);
}

#[test]
fn each_failed_attempt_takes_one_token_and_no_more() {
    let mut world = World::new(2);
    throttled(&mut world, 10);
    // Three attempts take three tokens, seven are left; three more leave four, which is too few.
    for expected in [3, 2] {
        let (mut call, _) = world.run("Get", |_| unavailable());
        world
            .engine
            .finished(&mut call, code::UNAVAILABLE, false, world.now);
        assert_eq!(call.record.attempts, expected);
    }
}

#[test]
fn a_broken_attempt_is_one_failure_of_its_endpoint() {
    let mut world = World::new(2);
    let broken = |_: &Endpoint| Outcome::Broken(Failure::new(Reason::UpstreamReset, "gone"));
    // Two failures of each endpoint at most: none is ejected by its third.
    let mut failures = HashMap::new();
    for _ in 0..200 {
        let (mut call, failure) = world.run("Add", |endpoint| {
            if failures.get(endpoint).is_some_and(|&count| count == 2) {
                Outcome::Headers
            } else {
                broken(endpoint)
            }
        });
        if failure.is_some() {
            world
                .engine
                .finished(&mut call, code::UNAVAILABLE, true, world.now);
            let endpoint = call.record.endpoint.clone().unwrap();
            *failures.entry(endpoint).or_insert(0) += 1;
        }
        if failures.values().sum::<i32>() == 4 {
            break;
        }
    }
    let mut served = HashMap::new();
    for _ in 0..40 {
        let (call, _) = world.run("Add", |_| Outcome::Headers);
        *served.entry(call.record.instance().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(served.len(), 2, "{served:?}");
}

#[test]
fn an_attempt_under_way_counts_as_one_that_may_have_arrived() {
    let mut world = World::new(1);
    let mut call = world.call("Add");
    let endpoint = world.picked(&mut call);
    assert_eq!(call.record.attempts, 1);
    let nobody = Outcome::ConnectFailed("refused".to_owned());
    world.end(&mut call, endpoint, &nobody);
    assert_eq!(call.record.attempts, 0);
}

#[test]
fn full_connections_are_no_fault_of_the_endpoint() {
    let mut world = World::new(2);
    for _ in 0..40 {
        world.run("Add", |endpoint| match endpoint.address.port() {
            1 => Outcome::Broken(Failure::new(Reason::TooManyStreams, "full")),
            _ => Outcome::Headers,
        });
    }
    let mut served = HashMap::new();
    for _ in 0..40 {
        let (call, _) = world.run("Add", |_| Outcome::Headers);
        *served.entry(call.record.instance().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(served.len(), 2, "{served:?}");
}

#[test]
fn an_attempt_without_an_answer_in_its_time_is_retried_elsewhere() {
    let mut timed = target(2);
    let policy = timed.methods[0].retry_policy.as_mut().unwrap();
    policy.per_attempt_timeout = Some(Duration::from_millis(200));
    let mut world = World::with([timed]);
    let mut call = world.call("Get");
    let slow = world.picked(&mut call);
    assert_eq!(
        slow.times_out_at,
        Some(world.now + Duration::from_millis(200))
    );
    let first = slow.endpoint.address;
    world.pass(200);
    let next = world.end(&mut call, slow, &Outcome::TimedOut);
    assert!(matches!(next, Next::RetryAt(_)), "{next:?}");
    let other = world.picked(&mut call);
    assert_ne!(other.endpoint.address, first);
    assert_eq!(
        world.end(&mut call, other, &Outcome::Headers),
        Next::Forward
    );
    assert_eq!(call.record.failures[0].reason, Reason::AttemptTimedOut);
    let mut call = world.call("Add");
    assert_eq!(world.picked(&mut call).times_out_at, None);
}

#[test]
fn a_record_tells_the_whole_story() {
    let mut world = World::new(3);
    let (call, _) = world.run("Get", |_| unavailable());
    let facts = call.record.facts();
    let fact = |name: &str| {
        let found = facts.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(fact("target"), Some(AUTHORITY));
    assert_eq!(fact("rule"), Some("a.Carts/Get"));
    assert_eq!(fact("attempts"), Some("3"));
    assert_eq!(fact("notRetried"), Some("ATTEMPTS"));
    let failures = fact("failures").unwrap();
    assert_eq!(failures.matches(": UNAVAILABLE").count(), 2, "{failures}");
    let id = fact("decision").unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(id, world.call("Get").record.id.to_string());
    assert_eq!(call.record.retries(), 2);
}

#[test]
fn a_deadline_that_passes_makes_its_endpoint_look_slow() {
    let mut world = World::new(2);
    let mut call = world.call("Get");
    let attempt = world.picked(&mut call);
    let hanging = attempt.endpoint.address;
    world.pass(2000);
    world.finish(call, code::DEADLINE_EXCEEDED);
    world.engine.release(attempt);
    for _ in 0..20 {
        let mut call = world.call("Add");
        let attempt = world.picked(&mut call);
        world.pass(5);
        world.end(&mut call, attempt, &Outcome::Headers);
        world.finish(call, code::OK);
    }
    let mut last = world.call("Add");
    assert_ne!(world.picked(&mut last).endpoint.address, hanging);
}
