//! Hedging by gRFC A6.

use std::time::Duration;

use weft_model::dataplane::{HedgingPolicy, RetryThrottling, Target};
use weft_policy::{Next, Outcome, Pick, code, retry::Pushback};

use crate::world::{World, target, unavailable};

pub fn policy(max_attempts: u32, delay_millis: u64) -> HedgingPolicy {
    HedgingPolicy {
        max_attempts,
        hedging_delay: Duration::from_millis(delay_millis),
        non_fatal_status_codes: vec![code::UNAVAILABLE],
    }
}

fn hedged(delay_millis: u64) -> Target {
    let mut target = target(4);
    target.methods[0].retry_policy = None;
    target.methods[0].hedging_policy = Some(policy(3, delay_millis));
    target
}

fn pushback(value: &str) -> Outcome {
    Outcome::TrailersOnly {
        code: code::UNAVAILABLE,
        pushback: Pushback::parse(Some(value)),
    }
}

#[test]
fn each_delay_without_an_answer_brings_another_endpoint_up_to_max_attempts() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    assert_eq!(call.hedge_at(), None);
    let mut ports = Vec::new();
    for previous in 0..3 {
        let attempt = world.picked(&mut call);
        assert_eq!(attempt.previous_attempts, previous);
        ports.push(attempt.endpoint.address.port());
        let expected = world.now + Duration::from_millis(50);
        assert_eq!(call.hedge_at(), (previous < 2).then_some(expected));
        world.now = expected;
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3, "each went elsewhere");
    assert_eq!((call.record.attempts, call.record.hedges), (3, 2));
}

#[test]
fn the_first_good_answer_wins() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    let slow = world.picked(&mut call);
    world.pass(50);
    let fast = world.picked(&mut call);
    assert_eq!(world.end(&mut call, fast, &Outcome::Headers), Next::Forward);
    assert_eq!(call.hedge_at(), None);
    world.engine.release(slow);
    world.finish(call, code::OK);
    let status = world.engine.clusters(world.now).remove(0);
    assert_eq!((status.requests, status.retries), (0, 0));
}

#[test]
fn a_failure_that_is_not_fatal_brings_the_next_attempt_at_once() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    let first = world.picked(&mut call);
    world.pass(50);
    let second = world.picked(&mut call);
    world.pass(5);
    assert_eq!(world.end(&mut call, first, &unavailable()), Next::Await);
    assert_eq!(call.hedge_at(), Some(world.now));
    let third = world.picked(&mut call);
    assert_eq!(world.end(&mut call, second, &unavailable()), Next::Await);
    assert_eq!(call.hedge_at(), None, "three attempts are all");
    assert_eq!(world.end(&mut call, third, &unavailable()), Next::Forward);
    assert!(call.retries_are_spent());
}

#[test]
fn a_fatal_failure_is_the_answer() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    let _slow = world.picked(&mut call);
    world.pass(50);
    let second = world.picked(&mut call);
    let fatal = Outcome::TrailersOnly {
        code: code::INTERNAL,
        pushback: Pushback::Absent,
    };
    assert_eq!(world.end(&mut call, second, &fatal), Next::Forward);
}

#[test]
fn pushback_delays_the_next_hedge_or_stops_them_all() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    let first = world.picked(&mut call);
    world.pass(50);
    let second = world.picked(&mut call);
    assert_eq!(world.end(&mut call, first, &pushback("70")), Next::Await);
    assert_eq!(call.hedge_at(), Some(world.now + Duration::from_millis(70)));
    assert_eq!(world.end(&mut call, second, &pushback("-1")), Next::Forward);

    let mut call = world.call("Get");
    let only = world.picked(&mut call);
    let next = world.end(&mut call, only, &pushback("70"));
    assert_eq!(next, Next::RetryAt(world.now + Duration::from_millis(70)));
}

#[test]
fn without_tokens_only_the_first_attempt_is_made() {
    let mut throttled = hedged(50);
    throttled.retry_throttling = Some(RetryThrottling {
        max_tokens: 2,
        token_ratio_permille: 0,
    });
    let mut world = World::with([throttled]);
    let mut call = world.call("Get");
    let only = world.picked(&mut call);
    assert_eq!(world.end(&mut call, only, &unavailable()), Next::Forward);
    let mut call = world.call("Get");
    let only = world.picked(&mut call);
    world.pass(50);
    let picked = world.engine.pick(&mut call, world.now, &mut world.rng);
    assert!(matches!(picked, Pick::Fail(_)), "{picked:?}");
    assert_eq!(call.hedge_at(), None);
    assert_eq!(call.record.attempts, 1);
    assert_eq!(world.end(&mut call, only, &Outcome::Headers), Next::Forward);
}

#[test]
fn what_reached_nobody_is_tried_elsewhere_and_is_no_attempt() {
    let mut world = World::with([hedged(50)]);
    let mut call = world.call("Get");
    let first = world.picked(&mut call);
    world.pass(50);
    let second = world.picked(&mut call);
    let nobody = Outcome::ConnectFailed("refused".to_owned());
    assert_eq!(world.end(&mut call, first, &nobody), Next::Await);
    assert_eq!(call.hedge_at(), Some(world.now));
    assert_eq!(call.record.attempts, 1);
    assert_eq!(
        world.end(&mut call, second, &Outcome::Headers),
        Next::Forward
    );
}
