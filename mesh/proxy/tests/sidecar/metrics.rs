//! Operators see calls under the names gRPC gives them.

use futures::StreamExt as _;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use weft_model::dataplane::OutlierDetection;

use crate::support::{AUTHORITY, Mesh, eventually, nobody};

#[tokio::test]
async fn calls_and_refusals_are_counted_under_grpcs_names() {
    let mesh = Mesh::new("metrics.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let stranger = mesh.caller("carts", &[server.inbound]).await;
    let mut client = caller.client().await;
    client.unary("hello").await.unwrap();
    echo.fail_next(1);
    client.safe("flaky").await.unwrap();
    let ticks = client.ticks("3").await.unwrap();
    assert_eq!(ticks.count().await, 3);
    stranger.client().await.unary("hello").await.unwrap_err();
    let mut plain = TcpStream::connect(server.inbound).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = r#"weft_inbound_connections_refused_total{reason="PLAINTEXT"} 1"#;
    eventually("the refused connection is counted", || {
        server.metrics.encode().contains(refused)
    })
    .await;

    let outbound = caller.metrics.encode();
    let of_unary = r#"{grpc_method="test.Echo/Unary",grpc_target="echo:7070""#;
    let of_safe = r#"{grpc_method="test.Echo/Safe",grpc_target="echo:7070""#;
    for line in [
        format!("grpc_client_attempt_started_total{of_unary}}} 1"),
        format!("grpc_client_attempt_started_total{of_safe}}} 2"),
        format!(
            "grpc_client_attempt_duration_seconds_count{of_safe},grpc_status=\"UNAVAILABLE\"}} 1"
        ),
        format!("grpc_client_call_duration_seconds_count{of_unary},grpc_status=\"OK\"}} 1"),
        format!("grpc_client_call_duration_seconds_count{of_safe},grpc_status=\"OK\"}} 1"),
        // As messages, `hello` and `flaky` are seven bytes, and the latter's answer three.
        sizes("client_attempt_sent", of_unary, "OK", 7),
        sizes("client_attempt_rcvd", of_unary, "OK", 7),
        sizes("client_attempt_sent", of_safe, "UNAVAILABLE", 7),
        sizes("client_attempt_rcvd", of_safe, "UNAVAILABLE", 0),
        sizes("client_attempt_rcvd", of_safe, "OK", 3),
        format!("grpc_client_call_retries_total{of_safe}}} 1"),
        format!("grpc_client_call_retry_delay_seconds_count{of_safe}}} 1"),
        format!("istio_requests_total{} 3", istio("source", "orders", 0)),
        format!(
            "istio_request_duration_milliseconds_count{} 3",
            istio("source", "orders", 0)
        ),
        format!(
            "istio_request_messages_total{} 3",
            istio("source", "orders", 0)
        ),
        format!(
            "istio_response_messages_total{} 5",
            istio("source", "orders", 0)
        ),
        r#"weft_upstream_endpoints{grpc_target="echo:7070",health="HEALTHY"} 1"#.to_owned(),
        r#"weft_upstream_connections{grpc_target="echo:7070"} 1"#.to_owned(),
        r#"weft_downstream_connections{side="outbound"} 1"#.to_owned(),
    ] {
        assert!(outbound.contains(&line), "no `{line}` in:\n{outbound}");
    }
    let inbound = server.metrics.encode();
    for line in [
        &format!(
            "istio_requests_total{} 3",
            istio("destination", "orders", 0)
        ),
        // The attempt that failed.
        &format!(
            "istio_request_messages_total{} 1",
            istio("destination", "orders", 14)
        ),
        &format!(
            "istio_response_messages_total{} 5",
            istio("destination", "orders", 0)
        ),
        &format!("istio_requests_total{} 1", istio("destination", "carts", 7)),
        "weft_inbound_in_flight 0",
        &sizes(
            "server_call_rcvd",
            r#"{grpc_method="test.Echo/Unary""#,
            "OK",
            7,
        ),
        &sizes(
            "server_call_sent",
            r#"{grpc_method="test.Echo/Unary""#,
            "OK",
            7,
        ),
        r#"grpc_server_call_duration_seconds_bucket{le="+Inf",grpc_method="test.Echo/Safe",grpc_status="OK"} 1"#,
        r#"grpc_server_call_started_total{grpc_method="test.Echo/Unary"} 2"#,
        r#"grpc_server_call_duration_seconds_count{grpc_method="test.Echo/Unary",grpc_status="OK"} 1"#,
        r#"grpc_server_call_duration_seconds_count{grpc_method="test.Echo/Unary",grpc_status="PERMISSION_DENIED"} 1"#,
    ] {
        assert!(inbound.contains(line), "no `{line}` in:\n{inbound}");
    }
}

#[tokio::test]
async fn an_attempt_lasts_as_long_as_its_stream() {
    let mesh = Mesh::new("metrics.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    let ended = |status: &str| {
        let name = "grpc_client_attempt_duration_seconds_count";
        // It has no rule in the mesh file of the tests.
        let labels = r#"grpc_method="other",grpc_target="echo:7070""#;
        let line = format!("{name}{{{labels},grpc_status=\"{status}\"}} 1");
        caller.metrics.encode().contains(&line)
    };
    let mut ticks = client.ticks("forever").await.unwrap();
    for _ in 0..3 {
        ticks.next().await.unwrap().unwrap();
    }
    assert!(!ended("OK") && !ended("CANCELLED"), "it goes on");
    drop(ticks);
    eventually("the caller's end is counted", || ended("CANCELLED")).await;
    assert_eq!(client.ticks("3").await.unwrap().count().await, 3);
    eventually("the stream's end is counted", || ended("OK")).await;
}

#[tokio::test]
async fn ejections_are_counted_by_what_they_are_for() {
    let mesh = Mesh::new("metrics.local");
    let (_echo, server, _) = mesh.echo().await;
    let mut snapshot = mesh.calling(&[nobody().await, server.inbound]);
    let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
    target.outlier_detection = Some(OutlierDetection {
        consecutive_errors: Some(1),
        ..OutlierDetection::default()
    });
    let unused = "127.0.0.1:9".parse().unwrap();
    let caller = mesh.sidecar("orders", unused, snapshot).await;
    let mut client = caller.client().await;
    for _ in 0..20 {
        client.unary("hello").await.unwrap();
    }
    let metrics = caller.metrics.encode();
    for (name, count) in [
        ("enforced_total", 1),
        ("enforced_consecutive_gateway_failure_total", 1),
        ("detected_consecutive_gateway_failure_total", 1),
        ("detected_failure_percentage_total", 0),
        ("overflow_total", 0),
    ] {
        let name = format!("grpc_lb_outlier_detection_ejections_{name}");
        let line = format!("{name}{{grpc_target=\"echo:7070\"}} {count}\n");
        assert!(metrics.contains(&line), "no `{line}` in:\n{metrics}");
    }
}

fn sizes(which: &str, labels: &str, status: &str, sum: u32) -> String {
    let name = format!("grpc_{which}_total_compressed_message_size_bytes_sum");
    format!("{name}{labels},grpc_status=\"{status}\"}} {sum}.0")
}

fn istio(reporter: &str, source: &str, status: i32) -> String {
    format!(
        "{{reporter=\"{reporter}\",source_workload=\"{source}\",destination_service=\"echo\",\
         request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"{status}\",\
         connection_security_policy=\"mutual_tls\"}}"
    )
}
