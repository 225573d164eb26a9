//! When calls and attempts end.

use std::time::{Duration, Instant};

use tonic::Code;
use weft_model::dataplane::{MethodRule, RetryPolicy};

use crate::support::{AUTHORITY, Replica, World, eventually, retries, rule, target};

const SLOW: Duration = Duration::from_secs(20);

#[tokio::test]
async fn expiry_is_deadline_exceeded_and_cancels_upstream_within_fifty_milliseconds() {
    let replica = Replica::start().await;
    let world = World::new([target(AUTHORITY, &[&replica])]);
    // The connection is there already: only the deadline is measured.
    world.call().await.unwrap();
    replica.slow(SLOW);
    let timeout = Duration::from_millis(100);
    let started = Instant::now();
    let status = world.call_within(timeout).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() >= timeout);
    eventually("upstream is cancelled", || replica.cancelled() == 1).await;
    let late = started.elapsed().saturating_sub(timeout);
    assert!(
        late < Duration::from_millis(50),
        "{late:?} after the deadline"
    );
}

#[tokio::test]
async fn the_rules_timeout_ends_a_call_that_has_none() {
    let replica = Replica::start().await;
    replica.slow(SLOW);
    let mut shop = target(AUTHORITY, &[&replica]);
    shop.methods = vec![MethodRule {
        timeout: Some(Duration::from_millis(80)),
        ..rule()
    }];
    let world = World::new([shop]);
    let status = world.call().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let told = replica.last_seen();
    let told = told.get("grpc-timeout").unwrap().to_str().unwrap();
    let told = weft_policy::deadline::parse_timeout(told).unwrap();
    assert!(told <= Duration::from_millis(80), "{told:?}");
}

#[tokio::test]
async fn an_attempt_without_headers_in_time_is_given_up_for_another() {
    let (slow, quick) = (Replica::start().await, Replica::start().await);
    slow.slow(SLOW);
    let mut shop = target(AUTHORITY, &[&slow, &quick]);
    shop.methods = vec![MethodRule {
        retry_policy: Some(RetryPolicy {
            per_attempt_timeout: Some(Duration::from_millis(60)),
            ..retries(3)
        }),
        ..rule()
    }];
    let world = World::new([shop]);
    let started = Instant::now();
    for _ in 0..20 {
        world.call().await.unwrap();
        if slow.begun() > 0 {
            break;
        }
    }
    assert!(started.elapsed() < SLOW / 2);
    assert!(slow.begun() > 0, "the slow replica was never asked");
    eventually("the attempt is cancelled", || {
        slow.cancelled() == slow.begun()
    })
    .await;
    assert_eq!(quick.cancelled(), 0);
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels_upstream() {
    let replica = Replica::start().await;
    replica.slow(SLOW);
    let world = World::new([target(AUTHORITY, &[&replica])]);
    tokio::select! {
        answer = world.call() => panic!("{answer:?}"),
        () = eventually("the call is under way", || replica.begun() == 1) => {}
    }
    eventually("upstream is cancelled", || replica.cancelled() == 1).await;
}
