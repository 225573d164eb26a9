//! What the mesh file says about calls is carried out: routes, faults, hedges, breakers, balancing.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_types::StatusExt as _;
use weft_model::dataplane::{
    Backend, CircuitBreakers, Fault, FaultAbort, FaultDelay, HeaderChanges, HeaderMatch,
    HedgingPolicy, LoadBalancing, RouteMatch, RouteRule, Target, TextMatch,
};

use crate::{
    logs,
    support::{AUTHORITY, Mesh, eventually, request},
};

/// The first endpoint is `v1`, the second `v2`.
fn label_versions(target: &mut Target) {
    for (endpoint, version) in target.endpoints.iter_mut().zip(["v1", "v2"]) {
        let label = ("version".to_owned(), version.to_owned());
        endpoint.labels = [label.clone()].into();
        target.subsets.insert(version.to_owned(), [label].into());
    }
}

fn to_subset(version: &str, weight: u32) -> Backend {
    Backend {
        authority: AUTHORITY.to_owned(),
        subset: Some(version.to_owned()),
        weight,
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_canary_gets_its_share_of_the_calls() {
    let mesh = Mesh::new("policies.local");
    let ((stable, one, _), (canary, two, _)) = (mesh.echo().await, mesh.echo().await);
    let caller = mesh
        .caller_of(&[&one, &two], |target| {
            label_versions(target);
            target.routes = vec![RouteRule {
                backends: vec![to_subset("v1", 80), to_subset("v2", 20)],
                ..RouteRule::default()
            }];
        })
        .await;
    let mut client = caller.client().await;
    for _ in 0..400 {
        client.unary("hello").await.unwrap();
    }
    assert_eq!(stable.call_count() + canary.call_count(), 400);
    // Eighty are expected; eight standard deviations to either side.
    let canary = canary.call_count();
    assert!((16..=144).contains(&canary), "{canary}");
}

#[tokio::test]
async fn a_header_chooses_the_route_which_changes_headers_both_ways() {
    let mesh = Mesh::new("policies.local");
    let ((_, one, _), (beta, two, _)) = (mesh.echo().await, mesh.echo().await);
    let caller = mesh
        .caller_of(&[&one, &two], |target| {
            label_versions(target);
            target.routes = vec![
                RouteRule {
                    name: "beta-users".to_owned(),
                    matches: vec![RouteMatch {
                        headers: vec![HeaderMatch {
                            name: "x-group".to_owned(),
                            value: TextMatch::Exact("beta".to_owned()),
                        }],
                        ..RouteMatch::default()
                    }],
                    backends: vec![to_subset("v2", 1)],
                    request_headers: HeaderChanges {
                        set: vec![pair("x-seen", "as beta")],
                        remove: vec!["x-secret".to_owned()],
                        ..HeaderChanges::default()
                    },
                    response_headers: HeaderChanges {
                        add: vec![pair("x-version", "v2")],
                        ..HeaderChanges::default()
                    },
                    ..RouteRule::default()
                },
                RouteRule {
                    backends: vec![to_subset("v1", 1)],
                    ..RouteRule::default()
                },
            ];
        })
        .await;
    let mut client = caller.client().await;
    let metadata = [("x-group", "beta"), ("x-seen", "no"), ("x-secret", "s")];
    let answer = client
        .call("Unary", request("header x-seen", &metadata))
        .await
        .unwrap();
    assert_eq!(answer.metadata().get("x-version").unwrap(), "v2");
    assert_eq!(answer.into_inner(), "as beta");
    let answer = client
        .call("Unary", request("header x-secret", &metadata))
        .await
        .unwrap();
    assert_eq!(answer.into_inner(), "-");
    assert_eq!(beta.call_count(), 2);
    for group in ["", "beta2"] {
        let request = request(
            "header x-seen",
            &[("x-group", group), ("x-seen", "untouched")],
        );
        let answer = client.call("Unary", request).await.unwrap();
        assert!(answer.metadata().get("x-version").is_none());
        assert_eq!(answer.into_inner(), "untouched");
    }
    assert_eq!(beta.call_count(), 2);
}

fn with_fault(target: &mut Target, fault: Fault) {
    target.routes = vec![RouteRule {
        backends: vec![Backend {
            authority: AUTHORITY.to_owned(),
            subset: None,
            weight: 1,
        }],
        fault: Some(fault),
        ..RouteRule::default()
    }];
}

#[tokio::test]
async fn injected_failures_meet_the_retry_policy() {
    let mesh = Mesh::new("policies.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh
        .caller_of(&[&server], |target| {
            let abort = FaultAbort {
                grpc_status: 14,
                share_per_100_000: 100_000,
                first_attempts: Some(2),
            };
            with_fault(
                target,
                Fault {
                    delay: None,
                    abort: Some(abort),
                },
            );
        })
        .await;
    let mut client = caller.client().await;
    assert_eq!(client.safe("flaky").await.unwrap(), "2");
    assert_eq!(echo.call_count(), 1);
    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "FAULT_INJECTED");
    assert_eq!(info.metadata["notRetried"], "NO_POLICY");
    assert_eq!(echo.call_count(), 1);
    let decision = info.metadata["decision"].as_str();
    let line = logs::line(&[decision, "outbound call failed"]).await;
    for part in [
        "echo:7070",
        "/test.Echo/Unary",
        "FAULT_INJECTED",
        "NO_POLICY",
        "trace_id",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test]
async fn an_injected_delay_holds_the_call_back_and_counts_against_its_deadline() {
    let mesh = Mesh::new("policies.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh
        .caller_of(&[&server], |target| {
            let delay = FaultDelay {
                fixed_delay: Duration::from_millis(200),
                share_per_100_000: 100_000,
            };
            target.methods[0].timeout = Some(Duration::from_millis(50));
            with_fault(
                target,
                Fault {
                    delay: Some(delay),
                    abort: None,
                },
            );
        })
        .await;
    let mut client = caller.client().await;
    let began = Instant::now();
    client.unary("hello").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200));
    let status = client.safe("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(echo.call_count(), 1);
}

#[tokio::test]
async fn a_hedge_wins_and_the_attempt_that_loses_is_cancelled() {
    let mesh = Mesh::new("policies.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh
        .caller_of(&[&server], |target| {
            target.methods[0].retry_policy = None;
            target.methods[0].hedging_policy = Some(HedgingPolicy {
                max_attempts: 3,
                hedging_delay: Duration::from_millis(500),
                non_fatal_status_codes: vec![14],
            });
        })
        .await;
    let mut client = caller.client().await;
    client.safe("hello").await.unwrap();
    assert_eq!(echo.call_count(), 1, "a quick answer needs no hedge");
    echo.hang_next(1);
    let answer = timeout(Duration::from_secs(5), client.safe("stuck")).await;
    assert_eq!(answer.expect("the hedge answers").unwrap(), "1");
    assert_eq!(echo.call_count(), 3);
    eventually("the loser is cancelled", || echo.dropped_count() == 1).await;
    // What is not fatal does not wait for the delay.
    echo.fail_next(1);
    assert_eq!(client.safe("flaky").await.unwrap(), "1");
    let metrics = caller.metrics.encode();
    let line =
        r#"grpc_client_call_hedges_total{grpc_method="test.Echo/Safe",grpc_target="echo:7070"} 1"#;
    assert!(metrics.contains(line), "no `{line}` in:\n{metrics}");
}

#[tokio::test]
async fn a_full_circuit_breaker_fails_at_once_and_says_so() {
    let mesh = Mesh::new("policies.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh
        .caller_of(&[&server], |target| {
            target.circuit_breakers = CircuitBreakers {
                max_requests: 1,
                ..CircuitBreakers::default()
            };
        })
        .await;
    let mut client = caller.client().await;
    let mut holder = caller.client().await;
    let held = tokio::spawn(async move { holder.unary("hang").await });
    eventually("the place is taken", || echo.call_count() == 1).await;
    let under_way = r#"weft_upstream_requests{grpc_target="echo:7070"} 1"#;
    assert!(caller.metrics.encode().contains(under_way));
    let refused = timeout(Duration::from_secs(1), client.unary("hello")).await;
    let status = refused.expect("it fails at once").unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CIRCUIT_BREAKER_OPEN");
    assert_eq!(echo.call_count(), 1);
    held.abort();
    eventually("the place is free", || echo.dropped_count() == 1).await;
    client.unary("hello").await.unwrap();
}

#[tokio::test]
async fn a_ring_sends_the_same_header_to_the_same_replica() {
    let mesh = Mesh::new("policies.local");
    let echoes = [mesh.echo().await, mesh.echo().await, mesh.echo().await];
    let servers = [&echoes[0].1, &echoes[1].1, &echoes[2].1];
    let caller = mesh
        .caller_of(&servers, |target| {
            target.load_balancing = LoadBalancing::RingHash {
                header: "x-customer".to_owned(),
                minimum_ring_size: 1024,
                maximum_ring_size: 8192,
            };
        })
        .await;
    let mut client = caller.client().await;
    let counts = || [0, 1, 2].map(|at: usize| echoes[at].0.call_count());
    let mut used = [false; 3];
    for customer in ["1", "22", "333", "4444", "55555", "six", "se7en", "ate"] {
        let before = counts();
        for _ in 0..10 {
            let request = request("hello", &[("x-customer", customer)]);
            client.call("Unary", request).await.unwrap();
        }
        let after = counts();
        let place = (0..3).find(|&at| after[at] == before[at] + 10);
        used[place.unwrap_or_else(|| panic!("{before:?} to {after:?}"))] = true;
    }
    assert!(used.iter().filter(|used| **used).count() > 1, "{used:?}");
}
