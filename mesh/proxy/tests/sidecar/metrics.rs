//! Operators see calls under the names gRPC gives them.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Mesh, eventually};

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
        format!("grpc_client_call_retries_total{of_safe}}} 1"),
    ] {
        assert!(outbound.contains(&line), "no `{line}` in:\n{outbound}");
    }
    let inbound = server.metrics.encode();
    for line in [
        r#"grpc_server_call_started_total{grpc_method="test.Echo/Unary"} 2"#,
        r#"grpc_server_call_duration_seconds_count{grpc_method="test.Echo/Unary",grpc_status="OK"} 1"#,
        r#"grpc_server_call_duration_seconds_count{grpc_method="test.Echo/Unary",grpc_status="PERMISSION_DENIED"} 1"#,
    ] {
        assert!(inbound.contains(line), "no `{line}` in:\n{inbound}");
    }
}
