//! Any gRPC program works behind the sidecar unchanged: Python and Node, each as client and as server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::peers::{Exchange, GZIP_BYTES, exchanges};
use serde_json::{Value, json};

/// What both clients must have seen of every server.
async fn all_saw(case: &str, expected: impl Fn(&Exchange) -> Value) {
    for exchange in exchanges().await {
        let Exchange { client, server, .. } = exchange;
        assert_eq!(
            exchange.seen[case],
            expected(exchange),
            "{case}: {client} calls {server}"
        );
    }
}

#[tokio::test]
async fn unary_calls_arrive_with_the_callers_identity() {
    all_saw("unary", |exchange| {
        let caller = format!("spiffe://peers.local/ns/test/sa/{}", exchange.client);
        json!({"payload": "0068656c6c6f", "requests": 1, "caller": caller})
    })
    .await;
}

#[tokio::test]
async fn client_streams_arrive_whole_and_end() {
    let expected = json!({"requests": 100, "received": 100_000, "empty": 0});
    all_saw("clientStream", |_| expected.clone()).await;
}

#[tokio::test]
async fn server_streams_arrive_whole_and_in_order() {
    let expected = json!({"replies": 100, "ordered": true, "empty": 0});
    all_saw("serverStream", |_| expected.clone()).await;
}

#[tokio::test]
async fn each_message_of_a_conversation_passes_without_the_next() {
    let expected = json!({"replies": 50, "ordered": true});
    all_saw("bidiStream", |_| expected.clone()).await;
}

#[tokio::test]
async fn either_side_ends_its_half_of_a_conversation_first() {
    let expected = json!({"after": true, "replies": 2, "code": "OK", "waiting": true});
    all_saw("halfCloses", |_| expected.clone()).await;
}

#[tokio::test]
async fn more_calls_at_once_than_streams_succeed() {
    all_saw("parallel", |_| json!({"intact": true})).await;
}

#[tokio::test]
async fn metadata_passes_both_ways_in_headers_and_trailers() {
    let every_byte: String = (0..=255_u8).map(|byte| format!("{byte:02x}")).collect();
    let echoed = |place: &str| {
        json!({
            format!("x-{place}-text"): "one, two, three",
            format!("x-{place}-data-bin"): format!("{every_byte}, "),
        })
    };
    let expected =
        json!({"initial": echoed("initial"), "trailing": echoed("trailing"), "equal": true});
    all_saw("metadata", |_| expected.clone()).await;
}

#[tokio::test]
async fn errors_pass_with_details_and_after_replies() {
    all_saw("errors", |exchange| {
        let failed = |replies: u32| {
            json!({
                "code": "FAILED_PRECONDITION",
                "message": "100 % wöll\nis out",
                "details": exchange.details,
                "why": "00ff776879",
                "replies": replies,
            })
        };
        json!({
            "unary": failed(0),
            "clientStream": failed(0),
            "serverStream": failed(2),
            "bidiStream": failed(2),
        })
    })
    .await;
}

#[tokio::test]
async fn every_code_passes() {
    let codes = [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let expected: Vec<Value> = (1..)
        .zip(codes)
        .map(|(number, code)| json!([code, format!("code {number}")]))
        .collect();
    all_saw("codes", |_| json!(expected)).await;
    all_saw("unknownMethod", |_| json!("UNIMPLEMENTED")).await;
}

#[tokio::test]
async fn compressed_messages_pass_as_they_are() {
    all_saw("compression", |_| json!({"intact": true})).await;
    for exchange in exchanges().await {
        let (client, server) = (exchange.client, exchange.server);
        let (sent, received) = exchange.relayed;
        assert!(
            (1..GZIP_BYTES).contains(&sent),
            "{client} to {server}: {sent} bytes"
        );
        // grpc-js decompresses requests, but does not compress replies.
        if server == "python" {
            assert!(
                (1..GZIP_BYTES).contains(&received),
                "{server} to {client}: {received} bytes"
            );
        }
    }
}

#[tokio::test]
async fn deadlines_shrink_on_the_way_and_end_calls_on_both_sides() {
    let expired = json!(["DEADLINE_EXCEEDED", true]);
    let expected = json!({
        "unary": expired, "clientStream": expired, "serverStream": expired, "bidiStream": expired,
    });
    for Exchange {
        client,
        server,
        seen,
        ..
    } in exchanges().await
    {
        let seen = &seen["deadline"];
        assert_eq!(seen["expired"], expected, "{client} calls {server}: {seen}");
        // grpcio rounds what it sends and what it reads up to the next hundredth, grpc-js does not. The
        // way through both sidecars takes less than a millisecond.
        let rounding = match (*client, *server) {
            ("node", "node") => 1.0,
            _ => 1.02,
        };
        for (key, given) in [("left", 5_000.0), ("configured", 60_000.0)] {
            let left = seen[key].as_f64().unwrap_or_default();
            let is_shorter = (given / 2.0..=given * rounding).contains(&left);
            assert!(
                is_shorter,
                "{client} calls {server}, {key} of {given} ms: {seen}"
            );
        }
    }
}

#[tokio::test]
async fn cancellation_reaches_the_server() {
    let ended = json!([true, "CANCELLED", true]);
    let expected = json!({
        "unary": ended, "clientStream": ended, "serverStream": ended, "bidiStream": ended,
    });
    all_saw("cancellation", |_| expected.clone()).await;
}

#[tokio::test]
async fn a_message_of_16_mebibytes_passes_both_ways() {
    let expected = json!({"intact": true, "bytes": 16 << 20});
    all_saw("largeMessage", |_| expected.clone()).await;
}

#[tokio::test]
async fn streams_longer_than_every_window_pass() {
    let expected = json!({"up": 8 << 20, "down": true, "both": true});
    all_saw("largeStreams", |_| expected.clone()).await;
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_neither_memory_nor_others() {
    const MEBIBYTE: u64 = 1 << 20;
    for exchange in exchanges().await {
        let allowed = 40 * MEBIBYTE + exchange.stalled * 4 * MEBIBYTE;
        for (sidecar, grown) in &exchange.grown {
            assert!(
                *grown < allowed,
                "{sidecar} grew by {grown} bytes while {} called {}",
                exchange.client,
                exchange.server
            );
        }
    }
}
