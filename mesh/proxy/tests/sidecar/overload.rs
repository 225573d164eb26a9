//! What a workload's sidecar lets in, and what it says to whom it does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::Code;
use tonic_types::StatusExt as _;
use weft_model::dataplane::{AdaptiveConcurrency, RateLimit, RateLimitKey, TokenBucket};

use crate::{
    logs,
    support::{Mesh, eventually, request},
};

#[tokio::test]
async fn a_rate_limit_says_how_much_is_left_and_when_to_come_back() {
    let mesh = Mesh::new("overload.local");
    let (echo, server) = mesh
        .echo_under(|rules| {
            rules.rate_limits = vec![RateLimit {
                name: "per-caller".to_owned(),
                principals: Vec::new(),
                paths: Vec::new(),
                key: RateLimitKey::Caller,
                token_bucket: TokenBucket {
                    max_tokens: 2,
                    tokens_per_fill: 1,
                    fill_interval: Duration::from_secs(100),
                },
            }];
        })
        .await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    for left in ["1", "0"] {
        let answer = client.call("Unary", request("hello", &[])).await.unwrap();
        let said = |name| answer.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(said("ratelimit-limit"), "2");
        assert_eq!(said("ratelimit-remaining"), left);
    }
    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "RATE_LIMITED");
    let said = |name| status.metadata().get(name).unwrap().to_str().unwrap();
    assert_eq!(said("ratelimit-remaining"), "0");
    let number = |name| said(name).parse::<u64>().unwrap();
    assert!((90..=100).contains(&number("retry-after")));
    assert_eq!(number("ratelimit-reset"), number("retry-after"));
    assert!((90_000..=100_000).contains(&number("grpc-retry-pushback-ms")));
    assert_eq!(echo.call_count(), 2);
    let decision = info.metadata["decision"].as_str();
    let line = logs::line(&[decision, "inbound call failed"]).await;
    let limit = r#""rate_limit":"per-caller""#;
    assert!(line.contains(limit), "no {limit} in {line}");
}

#[tokio::test]
async fn rules_on_trial_let_pass_and_tell_what_they_would_refuse() {
    let mesh = Mesh::new("overload.local");
    let (echo, server) = mesh.echo_under(|rules| rules.is_dry_run = true).await;
    let caller = mesh.caller("strangers", &[server.inbound]).await;
    let mut client = caller.client().await;
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    assert_eq!(echo.call_count(), 1);
    let strangers = mesh.id("strangers");
    let parts = ["inbound call would be refused", strangers.as_str()];
    let line = logs::line(&parts).await;
    for part in [
        "/test.Echo/Unary",
        "default-deny",
        "CALLER_NOT_ALLOWED",
        "CRITICAL",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_that_is_too_much_the_most_critical_calls_pass() {
    let mesh = Mesh::new("overload.local");
    let (_echo, server) = mesh
        .echo_under(|rules| {
            rules.adaptive_concurrency = Some(AdaptiveConcurrency {
                min_concurrency: 4,
                max_concurrency: 4,
            });
        })
        .await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let shed = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut client = caller.client().await;
        let (stop, shed) = (Arc::clone(&stop), Arc::clone(&shed));
        crowd.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let request = request("slow", &[("x-weft-criticality", "SHEDDABLE")]);
                let Err(status) = client.call("Unary", request).await else {
                    continue;
                };
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                let info = status.get_details_error_info().unwrap();
                assert_eq!(info.reason, "OVERLOADED");
                shed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    eventually("load is shed", || shed.load(Ordering::Relaxed) > 20).await;
    let mut client = caller.client().await;
    for _ in 0..5 {
        let request = request("slow", &[("x-weft-criticality", "CRITICAL_PLUS")]);
        client.call("Unary", request).await.unwrap();
    }
    let status = server.json("/inbound").await;
    assert_eq!(status["concurrency_limit"], 4);
    stop.store(true, Ordering::Relaxed);
    for one in crowd {
        one.await.unwrap();
    }
}
