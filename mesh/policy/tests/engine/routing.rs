//! Where routes send calls, and what they do to them on the way.

use std::time::Duration;

use weft_model::dataplane::{
    Backend, Fault, FaultAbort, FaultDelay, HeaderChanges, HeaderMatch, Mirror, RouteMatch,
    RouteRule, Target, TextMatch,
};
use weft_policy::{Outcome, Reason, code};

use crate::world::{World, routed, target};

fn backend(authority: &str, subset: Option<&str>, weight: u32) -> Backend {
    Backend {
        authority: authority.to_owned(),
        subset: subset.map(str::to_owned),
        weight,
    }
}

fn named(name: &str) -> RouteRule {
    RouteRule {
        name: name.to_owned(),
        ..RouteRule::default()
    }
}

#[test]
fn a_route_sends_calls_to_another_target_with_the_rules_of_the_one_called() {
    let mut v2 = target(1);
    v2.authority = "carts-v2:7070".to_owned();
    v2.identity = "spiffe://a/ns/b/sa/carts-v2".to_owned();
    let route = RouteRule {
        backends: vec![backend("carts-v2:7070", None, 1)],
        request_headers: HeaderChanges {
            set: vec![("x-version".to_owned(), "2".to_owned())],
            ..HeaderChanges::default()
        },
        ..named("to-v2")
    };
    let mut world = World::with([routed(2, route), v2]);
    let mut call = world.call("Get");
    assert_eq!(call.request_headers().set.len(), 1);
    let attempt = world.picked(&mut call);
    assert_eq!(&*attempt.target, "carts-v2:7070");
    assert_eq!(
        attempt.identity.as_deref(),
        Some("spiffe://a/ns/b/sa/carts-v2")
    );
    assert_eq!(&*call.record.target, "carts:7070");
    assert_eq!(call.record.backend.as_deref(), Some("carts-v2:7070"));
    assert_eq!(call.record.route.as_deref(), Some("to-v2"));
    assert_eq!(&*call.record.rule, "a.Carts/Get");
}

#[test]
fn a_header_chooses_a_subset_and_its_retries_stay_there() {
    let beta = RouteRule {
        matches: vec![RouteMatch {
            headers: vec![HeaderMatch {
                name: "x-beta".to_owned(),
                value: TextMatch::Present,
            }],
            ..RouteMatch::default()
        }],
        backends: vec![backend("carts:7070", Some("v2"), 1)],
        ..named("beta")
    };
    let mut carts = routed(4, beta);
    for endpoint in &mut carts.endpoints {
        let version = if endpoint.address.port() > 2 {
            "2"
        } else {
            "1"
        };
        endpoint
            .labels
            .insert("version".to_owned(), version.to_owned());
    }
    let v2 = [("version".to_owned(), "2".to_owned())];
    carts.subsets.insert("v2".to_owned(), v2.into());
    carts.outlier_detection = None;
    let mut world = World::with([carts]);
    for _ in 0..15 {
        let mut call = world.call_with("Get", &[("x-beta", "1")]).unwrap();
        for _ in 0..3 {
            let attempt = world.picked(&mut call);
            assert!(attempt.endpoint.address.port() > 2);
            world.end(&mut call, attempt, &crate::world::unavailable());
        }
        world.finish(call, code::UNAVAILABLE);
    }
    assert_eq!(world.call("Get").record.route, None);
}

#[test]
fn a_route_that_leads_nowhere_says_so() {
    let nowhere = RouteRule {
        backends: vec![backend("gone:1", None, 1)],
        ..named("old")
    };
    let failure = World::with([routed(1, nowhere)])
        .call_with("Get", &[])
        .unwrap_err();
    assert_eq!(failure.reason, Reason::UnknownService);
    assert_eq!(
        failure.message,
        "the route `old` leads to `gone:1`, which the mesh does not have"
    );
    let subset = RouteRule {
        backends: vec![backend("carts:7070", Some("v9"), 1)],
        ..named("old")
    };
    let failure = World::with([routed(1, subset)])
        .call_with("Get", &[])
        .unwrap_err();
    assert_eq!(failure.reason, Reason::NoHealthyEndpoint);
    assert_eq!(failure.message, "`carts:7070` has no subset `v9`");
}

#[test]
fn only_calls_without_side_effects_are_mirrored_and_copies_are_never_repeated() {
    let route = RouteRule {
        mirrors: vec![Mirror {
            backend: backend("carts:7070", None, 0),
            share_per_100_000: 50_000,
        }],
        ..named("mirrored")
    };
    let mut carts = routed(2, route);
    carts.methods[0].has_no_side_effects = true;
    let mut world = World::with([carts]);
    let copies: usize = (0..200).map(|_| world.call("Get").copies.len()).sum();
    assert!((70..130).contains(&copies), "{copies}");
    assert!((0..50).all(|_| world.call("Add").copies.is_empty()));

    let call = world.call("Get");
    let backend = backend("carts:7070", None, 0);
    let mut copy = world.engine.admit_copy(&call, &backend, world.now).unwrap();
    assert_eq!(copy.deadline, call.deadline);
    let attempt = world.picked(&mut copy);
    let next = world.end(&mut copy, attempt, &crate::world::unavailable());
    assert_eq!(next, weft_policy::Next::Forward);
}

fn fault(abort: Option<FaultAbort>, delay: Option<FaultDelay>) -> Target {
    let route = RouteRule {
        fault: Some(Fault { delay, abort }),
        ..named("faulty")
    };
    routed(2, route)
}

#[test]
fn two_injected_failures_are_retried_and_the_third_attempt_passes() {
    let abort = FaultAbort {
        grpc_status: code::UNAVAILABLE,
        share_per_100_000: 100_000,
        first_attempts: Some(2),
    };
    let mut world = World::with([fault(Some(abort), None)]);
    for _ in 0..10 {
        let (call, failure) = world.run("Get", |_| Outcome::Headers);
        assert!(failure.is_none());
        assert_eq!(call.record.attempts, 3);
        let reasons = call.record.failures.iter().map(|failure| failure.reason);
        assert!(reasons.eq([Reason::FaultInjected, Reason::FaultInjected]));
        world.finish(call, code::OK);
    }
    let mut status = world.engine.clusters(world.now);
    let endpoints = status.remove(0).endpoints;
    assert!(
        endpoints
            .iter()
            .all(|endpoint| endpoint.ejected_for_millis.is_none())
    );
}

#[test]
fn an_injected_delay_counts_against_the_time_of_an_attempt() {
    let delay = FaultDelay {
        fixed_delay: Duration::from_millis(30),
        share_per_100_000: 100_000,
    };
    let mut carts = fault(None, Some(delay));
    let policy = carts.methods[0].retry_policy.as_mut().unwrap();
    policy.per_attempt_timeout = Some(Duration::from_millis(20));
    let mut world = World::with([carts]);
    let mut call = world.call("Get");
    let attempt = world.picked(&mut call);
    assert_eq!(attempt.fault.delay, Some(Duration::from_millis(30)));
    assert_eq!(
        attempt.times_out_at,
        Some(world.now + Duration::from_millis(20))
    );
}
