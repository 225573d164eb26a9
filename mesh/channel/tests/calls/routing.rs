//! Where calls go, what is done to their headers, who gets a copy, and what is made to fail.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;
use weft_model::dataplane::{
    Backend, CircuitBreakers, Fault, FaultAbort, FaultDelay, HeaderChanges, MethodRule, Mirror,
    RouteRule,
};

use crate::support::{AUTHORITY, Replica, World, eventually, retries, rule, target};

fn backend(authority: &str, weight: u32) -> Backend {
    Backend {
        authority: authority.to_owned(),
        subset: None,
        weight,
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_canary_gets_its_share() {
    let (stable, canary) = (Replica::start().await, Replica::start().await);
    let mut shop = target(AUTHORITY, &[&stable]);
    shop.routes = vec![RouteRule {
        backends: vec![backend(AUTHORITY, 80), backend("canary:7070", 20)],
        ..RouteRule::default()
    }];
    let world = World::new([shop, target("canary:7070", &[&canary])]);
    for _ in 0..400 {
        world.call().await.unwrap();
    }
    assert_eq!(stable.begun() + canary.begun(), 400);
    // Eighty are expected; eight standard deviations to either side.
    assert!((16..=144).contains(&canary.begun()), "{}", canary.begun());
}

#[tokio::test]
async fn headers_are_changed_both_ways() {
    let replica = Replica::start().await;
    let mut shop = target(AUTHORITY, &[&replica]);
    shop.routes = vec![RouteRule {
        request_headers: HeaderChanges {
            set: vec![pair("x-tier", "gold")],
            remove: vec!["user-agent".to_owned()],
            ..HeaderChanges::default()
        },
        response_headers: HeaderChanges {
            add: vec![pair("x-route", "shop")],
            ..HeaderChanges::default()
        },
        ..RouteRule::default()
    }];
    let world = World::new([shop]);
    let response = world.call().await.unwrap();
    assert_eq!(response.metadata().get("x-route").unwrap(), "shop");
    let seen = replica.last_seen();
    assert_eq!(seen.get("x-tier").unwrap(), "gold");
    assert!(seen.get("user-agent").is_none());
}

#[tokio::test]
async fn a_mirror_gets_a_copy_and_its_failure_is_not_seen() {
    let (replica, mirror) = (Replica::start().await, Replica::start().await);
    mirror.fails(&[Code::Internal]);
    mirror.slow(Duration::from_millis(300));
    let mut shop = target(AUTHORITY, &[&replica]);
    shop.routes = vec![RouteRule {
        mirrors: vec![Mirror {
            backend: backend("mirror:7070", 0),
            share_per_100_000: 100_000,
        }],
        ..RouteRule::default()
    }];
    let world = World::new([shop, target("mirror:7070", &[&mirror])]);
    world.call().await.unwrap();
    assert_eq!(mirror.cancelled(), 0);
    let failed = "grpc_client_call_duration_seconds_count{grpc_method=\"weft.registry.v1.RegistryService/Register\",grpc_target=\"mirror:7070\",grpc_status=\"INTERNAL\"} 1";
    eventually("the copy has failed", || world.counts(failed)).await;
    assert_eq!((replica.begun(), mirror.begun()), (1, 1));
}

#[tokio::test]
async fn an_injected_failure_meets_the_retry_policy() {
    let replica = Replica::start().await;
    let abort = |first_attempts| Fault {
        delay: Some(FaultDelay {
            fixed_delay: Duration::from_millis(20),
            share_per_100_000: 100_000,
        }),
        abort: Some(FaultAbort {
            grpc_status: 14,
            share_per_100_000: 100_000,
            first_attempts,
        }),
    };
    let world = |max_attempts, first_attempts| {
        let mut shop = target(AUTHORITY, &[&replica]);
        shop.methods = vec![MethodRule {
            retry_policy: Some(retries(max_attempts)),
            ..rule()
        }];
        shop.routes = vec![RouteRule {
            fault: Some(abort(first_attempts)),
            ..RouteRule::default()
        }];
        World::new([shop])
    };
    let started = std::time::Instant::now();
    world(3, Some(2)).call().await.unwrap();
    assert_eq!(replica.begun(), 1, "two of three attempts were not sent");
    assert!(started.elapsed() >= Duration::from_millis(60));

    let status = world(2, None).call().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "FAULT_INJECTED");
    assert_eq!(info.metadata["attempts"], "2");
    assert_eq!(replica.begun(), 1);
}

#[tokio::test]
async fn an_open_breaker_fails_fast_and_closes_again() {
    let replica = Replica::start().await;
    replica.slow(Duration::from_millis(400));
    let mut shop = target(AUTHORITY, &[&replica]);
    shop.methods = vec![MethodRule {
        retry_policy: Some(retries(3)),
        ..rule()
    }];
    shop.circuit_breakers = CircuitBreakers {
        max_requests: 1,
        ..CircuitBreakers::default()
    };
    let world = World::new([shop]);
    let first = world.call();
    let second = async {
        eventually("the first call is under way", || replica.begun() == 1).await;
        let started = std::time::Instant::now();
        let status = world.call().await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(200));
        status
    };
    let (first, status) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CIRCUIT_BREAKER_OPEN");
    assert_eq!(replica.begun(), 1);
    world.call().await.unwrap();
}

#[tokio::test]
async fn connections_are_counted_by_the_breaker_and_given_back() {
    let (one, other) = (Replica::start().await, Replica::start().await);
    let mut shop = target(AUTHORITY, &[&one, &other]);
    shop.circuit_breakers = CircuitBreakers {
        max_connections: 1,
        ..CircuitBreakers::default()
    };
    let world = World::new([shop]);
    let mut refused = 0;
    for _ in 0..20 {
        match world.call().await {
            Ok(_) => {}
            Err(status) => {
                let info = status.get_details_error_info().unwrap();
                assert_eq!(info.reason, "CIRCUIT_BREAKER_OPEN");
                refused += 1;
            }
        }
    }
    // One replica has the connection, calls that are picked for the other find the breaker open.
    assert!(refused > 0 && refused < 20, "{refused}");
    assert!(one.begun() == 0 || other.begun() == 0);
}
