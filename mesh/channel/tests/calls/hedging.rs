//! Several attempts at once: the first good answer wins.

use std::time::{Duration, Instant};

use tonic::Code;
use weft_model::dataplane::{HedgingPolicy, MethodRule};

use crate::support::{AUTHORITY, Replica, World, eventually, rule, target};

const SLOW: Duration = Duration::from_secs(20);

fn hedged(world_of: &[&Replica], max_attempts: u32, delay: Duration) -> World {
    let mut target = target(AUTHORITY, world_of);
    target.methods = vec![MethodRule {
        hedging_policy: Some(HedgingPolicy {
            max_attempts,
            hedging_delay: delay,
            non_fatal_status_codes: vec![14],
        }),
        ..rule()
    }];
    World::new([target])
}

#[tokio::test]
async fn a_hedge_wins_against_a_slow_replica_and_the_loser_is_cancelled() {
    let (slow, quick) = (Replica::start().await, Replica::start().await);
    slow.slow(SLOW);
    let world = hedged(&[&slow, &quick], 2, Duration::from_millis(50));
    // Whichever is asked first, within a few calls it is the slow one.
    let started = Instant::now();
    for _ in 0..20 {
        world.call().await.unwrap();
        if slow.begun() > 0 {
            break;
        }
    }
    assert!(started.elapsed() < SLOW / 2);
    assert!(slow.begun() > 0, "the slow replica was never asked");
    eventually("the loser is cancelled", || {
        slow.cancelled() == slow.begun()
    })
    .await;
    let hedges = format!(
        "grpc_client_call_hedges_total{{grpc_method=\"weft.registry.v1.RegistryService/Register\",grpc_target=\"{AUTHORITY}\"}} 1"
    );
    assert!(world.counts(&hedges), "{}", world.metrics.encode());
}

#[tokio::test]
async fn a_failure_that_is_not_fatal_begins_the_next_attempt_at_once() {
    let (one, other) = (Replica::start().await, Replica::start().await);
    for replica in [&one, &other] {
        replica.fails(&[Code::Unavailable]);
    }
    let world = hedged(&[&one, &other], 3, SLOW);
    let started = Instant::now();
    world.call().await.unwrap();
    assert!(started.elapsed() < SLOW / 2);
    assert_eq!(one.begun() + other.begun(), 3);
}

#[tokio::test]
async fn a_fatal_failure_is_the_answer() {
    let replica = Replica::start().await;
    replica.fails(&[Code::NotFound]);
    let world = hedged(&[&replica], 3, SLOW);
    let status = world.call().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "as told")
    );
    assert_eq!(replica.begun(), 1);
}
