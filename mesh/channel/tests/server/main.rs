//! A tonic server that others call without a sidecar before it: who may, how much, how long.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use weft_model::dataplane::{RateLimit, RateLimitKey, TokenBucket};

use crate::support::{World, eventually, may_call, reason};

#[tokio::test]
async fn a_proven_caller_is_named_and_others_cannot_claim_to_be_it() {
    let world = World::start(may_call(&["edge"])).await;
    let mut edge = world.client("edge");
    let mut request = Request::new(String::new());
    let metadata = request.metadata_mut();
    metadata.insert("x-weft-caller", "spiffe://else".parse().unwrap());
    metadata.insert("x-weft-criticality", "SHEDDABLE".parse().unwrap());
    edge.call(request).await.unwrap();
    let seen = world.last_seen();
    let caller = world.authority.id("edge").to_string();
    assert_eq!(seen["x-weft-caller"], caller.as_str());
    assert_eq!(seen["x-weft-criticality"], "SHEDDABLE");
}

#[tokio::test]
async fn calls_are_counted_with_their_messages_and_sizes() {
    let world = World::start(may_call(&["edge"])).await;
    let mut edge = world.client("edge");
    let answer = edge.call(Request::new("hello".into())).await.unwrap();
    let sent = prost::Message::encoded_len(answer.get_ref());
    let of_method = "{grpc_method=\"test.Echo/Unary\",grpc_status=\"OK\"}";
    let istio = "{reporter=\"destination\",source_workload=\"edge\",destination_service=\"echo\",\
                 request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"0\",\
                 connection_security_policy=\"mutual_tls\"}";
    let size = "total_compressed_message_size_bytes_sum";
    let metrics = world.metrics.encode();
    for line in [
        format!("grpc_server_call_duration_seconds_count{of_method} 1"),
        // `hello` as a message is seven bytes.
        format!("grpc_server_call_rcvd_{size}{of_method} 7.0"),
        format!("grpc_server_call_sent_{size}{of_method} {sent}.0"),
        format!("istio_request_messages_total{istio} 1"),
        format!("istio_response_messages_total{istio} 1"),
    ] {
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn a_caller_without_a_rule_is_denied_until_a_rule_comes_on_the_same_connection() {
    let world = World::start(may_call(&["edge"])).await;
    let mut carts = world.client("carts");
    let denied = carts.call(Request::new(String::new())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let info = denied.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CALLER_NOT_ALLOWED");
    assert_eq!(info.metadata["rule"], "default-deny");
    assert!(!info.metadata["decision"].is_empty());
    world.set(may_call(&["edge", "carts"]));
    carts.call(Request::new(String::new())).await.unwrap();
    assert_eq!(world.served(), 1);
}

#[tokio::test]
async fn rules_on_trial_refuse_nobody() {
    let mut rules = may_call(&["edge"]);
    rules.is_dry_run = true;
    let world = World::start(rules).await;
    world
        .client("carts")
        .call(Request::new(String::new()))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_exhausted_limit_says_when_to_come_back() {
    let mut rules = may_call(&["edge"]);
    rules.rate_limits = vec![RateLimit {
        name: "calls".to_owned(),
        principals: Vec::new(),
        paths: Vec::new(),
        key: RateLimitKey::Caller,
        token_bucket: TokenBucket {
            max_tokens: 1,
            tokens_per_fill: 1,
            fill_interval: Duration::from_secs(30),
        },
    }];
    let world = World::start(rules).await;
    let mut edge = world.client("edge");
    let first = edge.call(Request::new(String::new())).await.unwrap();
    assert_eq!(first.metadata().get("ratelimit-limit").unwrap(), "1");
    assert_eq!(first.metadata().get("ratelimit-remaining").unwrap(), "0");
    let refused = edge.call(Request::new(String::new())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "RATE_LIMITED");
    let wait = refused.metadata().get("retry-after").unwrap();
    let wait: u64 = wait.to_str().unwrap().parse().unwrap();
    assert!((29..=30).contains(&wait), "{wait}");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    assert_eq!(world.served(), 1);
}

#[tokio::test]
async fn a_handler_is_dropped_at_the_deadline() {
    let world = World::start(may_call(&["edge"])).await;
    world.state.is_hanging.store(true, Ordering::SeqCst);
    // A client without a deadline of its own: the server alone ends the call.
    let started = Instant::now();
    let status = world.raw("edge", "120m").await;
    assert_eq!(status, "4");
    assert!(started.elapsed() < Duration::from_secs(5));
    eventually("the handler is dropped", || {
        world.state.dropped.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn whoever_proves_nothing_gets_nothing() {
    let world = World::start(may_call(&["edge"])).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", world.address));
    let plain = plain.unwrap().connect_timeout(Duration::from_secs(5));
    let mut client = support::Client(tonic::client::Grpc::new(plain.connect_lazy()));
    client.call(Request::new(String::new())).await.unwrap_err();
    let refused = "weft_inbound_connections_refused_total{reason=\"PLAINTEXT\"}";
    assert!(world.metrics.encode().contains(refused));
    assert_eq!(world.served(), 0);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_though_nobody_reads_it() {
    let world = World::start(may_call(&["edge"])).await;
    let mut edge = world.client("edge");
    let mut request = Request::new(String::new());
    request.set_timeout(Duration::from_millis(300));
    // Kept and not read: it fills its windows long before it ends.
    let stream = edge.flood(request).await.unwrap();
    eventually("upstream is cancelled", || {
        world.state.dropped.load(Ordering::SeqCst) == 1
    })
    .await;
    let mut stream = stream.into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
