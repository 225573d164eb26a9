//! Circuit breakers: what exceeds them fails at once, and nothing stays counted.

use std::time::Duration;

use proptest::prelude::*;
use weft_model::dataplane::{CircuitBreakers, RetryBudget, Target};
use weft_policy::{Call, Next, Outcome, Reason, code, retry::RetryStop};

use crate::world::{World, target, unavailable};

fn limited(breakers: CircuitBreakers) -> Target {
    Target {
        circuit_breakers: breakers,
        ..target(3)
    }
}

fn counts(world: &World) -> [u32; 4] {
    let status = world.engine.clusters(world.now).remove(0);
    [
        status.connections,
        status.pending,
        status.requests,
        status.retries,
    ]
}

#[test]
fn a_call_too_many_fails_at_once_with_the_breaker_named() {
    let mut world = World::with([limited(CircuitBreakers {
        max_requests: 2,
        ..CircuitBreakers::default()
    })]);
    let first = world.call("Add");
    let _second = world.call("Add");
    let failure = world.call_with("Add", &[]).unwrap_err();
    assert_eq!(failure.reason, Reason::CircuitBreakerOpen);
    assert_eq!(
        failure.message,
        "`carts:7070` has 2 calls under way, as many as its maxRequests allows"
    );
    world.finish(first, code::OK);
    world.call("Add");
}

#[test]
fn connections_and_waiting_calls_have_places() {
    let mut world = World::with([limited(CircuitBreakers {
        max_connections: 1,
        max_pending_requests: 1,
        ..CircuitBreakers::default()
    })]);
    let mut call = world.call("Add");
    let attempt = world.picked(&mut call);
    let connection = world.engine.connection(&attempt).unwrap();
    let pending = world.engine.pending(&attempt).unwrap();
    let failure = world.engine.connection(&attempt).unwrap_err();
    assert!(failure.message.contains("maxConnections"), "{failure}");
    let failure = world.engine.pending(&attempt).unwrap_err();
    assert!(failure.message.contains("maxPendingRequests"), "{failure}");
    world.engine.free(connection);
    world.engine.free(pending);
    world.engine.connection(&attempt).unwrap();
}

#[test]
fn retries_beyond_the_budget_are_not_made() {
    let mut world = World::with([limited(CircuitBreakers {
        retry_budget: RetryBudget {
            budget_percent: 20,
            min_retry_concurrency: 1,
        },
        ..CircuitBreakers::default()
    })]);
    let mut first = world.call("Get");
    let mut second = world.call("Get");
    let attempt = world.picked(&mut first);
    assert!(matches!(
        world.end(&mut first, attempt, &unavailable()),
        Next::RetryAt(_)
    ));
    let attempt = world.picked(&mut second);
    assert_eq!(
        world.end(&mut second, attempt, &unavailable()),
        Next::Forward
    );
    assert_eq!(second.record.retry_stop, Some(RetryStop::Budget));
    assert!(second.retries_are_spent());
    assert_eq!(counts(&world), [0, 0, 2, 1]);
    world.finish(first, code::UNAVAILABLE);
    assert_eq!(counts(&world), [0, 0, 1, 0]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Pick(usize),
    End(usize, u8),
    Connect(usize),
    Finish(usize),
    Endpoints(u16),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Admit),
        (0usize..8).prop_map(Step::Pick),
        (0usize..8, 0u8..5).prop_map(|(call, how)| Step::End(call, how)),
        (0usize..8).prop_map(Step::Connect),
        (0usize..8).prop_map(Step::Finish),
        (0u16..4).prop_map(Step::Endpoints),
        (0u64..3000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..120)
}

fn outcome(how: u8) -> Outcome {
    match how {
        0 => Outcome::Headers,
        1 => unavailable(),
        2 => Outcome::ConnectFailed("refused".to_owned()),
        3 => Outcome::TimedOut,
        _ => Outcome::Refused("closing".to_owned()),
    }
}

proptest! {
    #[test]
    fn whatever_happens_all_places_are_free_in_the_end(steps in steps()) {
        let breakers = CircuitBreakers { max_requests: 6, ..CircuitBreakers::default() };
        let mut hedged = limited(breakers);
        hedged.methods[1].hedging_policy = Some(crate::hedging::policy(3, 10));
        let mut world = World::with([hedged.clone()]);
        let mut calls: Vec<(Call, Vec<weft_policy::Attempt>, bool)> = Vec::new();
        let mut slots = Vec::new();
        for step in steps {
            match step {
                Step::Admit => {
                    let method = if calls.len().is_multiple_of(2) { "Get" } else { "Add" };
                    calls.extend(world.call_with(method, &[]).ok().map(|call| (call, Vec::new(), false)));
                }
                Step::Pick(n) => if let Some((call, attempts, false)) = calls.get_mut(n)
                    && let weft_policy::Pick::Attempt(attempt) =
                        world.engine.pick(call, world.now, &mut world.rng)
                {
                    attempts.push(attempt);
                    prop_assert!(call.record.attempts <= 3);
                },
                Step::End(n, how) => if let Some((call, attempts, is_answered)) = calls.get_mut(n)
                    && let Some(attempt) = attempts.pop()
                {
                    let next = world.end(call, attempt, &outcome(how));
                    *is_answered |= matches!(next, Next::Forward | Next::Fail(_));
                },
                Step::Connect(n) => if let Some((_, attempts, _)) = calls.get(n)
                    && let Some(attempt) = attempts.last()
                {
                    slots.extend(world.engine.connection(attempt).ok());
                    slots.extend(world.engine.pending(attempt).ok());
                },
                Step::Finish(n) => if n < calls.len() {
                    let (call, attempts, _) = calls.swap_remove(n);
                    world.finish(call, code::UNAVAILABLE);
                    attempts.into_iter().for_each(|attempt| world.engine.release(attempt));
                },
                Step::Endpoints(count) => {
                    hedged.endpoints = target(count).endpoints;
                    world.configure([hedged.clone()]);
                }
                Step::Pass(millis) => world.now += Duration::from_millis(millis),
            }
        }
        for (call, attempts, _) in calls {
            world.finish(call, code::OK);
            attempts.into_iter().for_each(|attempt| world.engine.release(attempt));
        }
        slots.into_iter().for_each(|slot| world.engine.free(slot));
        prop_assert_eq!(counts(&world), [0, 0, 0, 0]);
        let endpoints = world.engine.clusters(world.now).remove(0).endpoints;
        prop_assert!(endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
    }
}
