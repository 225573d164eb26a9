//! Services outside the mesh are called in cleartext where the mesh file says so, and nobody else is.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, net::TcpListener, sync::watch};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use weft_channel::Channel;
use weft_model::dataplane::{HealthCheck, Snapshot, Target, TlsMode};
use weft_runtime::metrics::Metrics;

use crate::{
    echo::Echo,
    logs,
    support::{AUTHORITY, Mesh, codec, eventually, nobody, path, request},
};

fn outside(mesh: &Mesh, endpoints: &[SocketAddr]) -> Snapshot {
    let mut snapshot = mesh.calling(endpoints);
    let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
    (target.tls, target.identity) = (TlsMode::Disable, String::new());
    snapshot
}

/// Takes connections, keeps what comes, and answers nothing.
async fn listener() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut connections = TcpListenerStream::new(listener);
        while let Some(Ok(mut connection)) = connections.next().await {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = connection.read(&mut bytes).await {
                keeps.lock().extend_from_slice(&bytes[..count]);
            }
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_service_outside_the_mesh_is_called_in_cleartext_by_the_same_policies() {
    let mesh = Mesh::new("outside.local");
    let echo = Echo::default();
    let (address, _task) = echo.serve(CancellationToken::new()).await;
    let mut snapshot = outside(&mesh, &[address]);
    snapshot.targets.get_mut(AUTHORITY).unwrap().health_check = Some(HealthCheck {
        service_name: String::new(),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(1),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
    });
    let workload = "127.0.0.1:9".parse().unwrap();
    let caller = mesh.sidecar("orders", workload, snapshot).await;
    let mut client = caller.client().await;
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    echo.fail_next(1);
    assert_eq!(client.safe("flaky").await.unwrap(), "1");
    let mut ticks = client.ticks("3").await.unwrap();
    while ticks.message().await.unwrap().is_some() {}

    for ours in ["x-weft-subject", "x-weft-criticality", "x-weft-caller"] {
        let metadata = [(ours, "SHEDDABLE"), ("x-theirs", "kept")];
        let asked = request(&format!("header {ours}"), &metadata);
        let seen = client.call("Unary", asked).await.unwrap();
        assert_eq!(seen.into_inner(), "-", "{ours} left the mesh");
        let asked = request("header x-theirs", &metadata);
        let seen = client.call("Unary", asked).await.unwrap();
        assert_eq!(seen.into_inner(), "kept");
    }

    let metrics = caller.metrics.encode();
    let counted = |policy: &str| {
        metrics.lines().any(|line| {
            line.starts_with("istio_requests_total{reporter=\"source\"")
                && line.contains(&format!("connection_security_policy=\"{policy}\""))
        })
    };
    assert!(counted("none") && !counted("mutual_tls"), "{metrics}");
    let cluster = &caller.json("/clusters?format=json").await[0];
    assert_eq!(cluster["connection_security_policy"], "none");
    assert_eq!(cluster["identity"], serde_json::Value::Null);
    assert_eq!(cluster["endpoints"][0]["health"], "HEALTHY");

    caller.set(outside(&mesh, &[nobody().await]));
    let refused = client.unary("hello").await.unwrap_err();
    assert_eq!(
        refused.get_details_error_info().unwrap().reason,
        "UPSTREAM_CONNECT_FAILED"
    );
    let line = logs::line(&["outbound call failed", "\"connection_security_policy\""]).await;
    assert!(
        line.contains("\"connection_security_policy\":\"none\""),
        "{line}"
    );
}

#[tokio::test]
async fn a_target_with_tls_hears_no_cleartext_whatever_else_is_at_its_address() {
    let mesh = Mesh::new("outside.local");
    let (address, heard) = listener().await;
    let caller = mesh.caller("orders", &[address]).await;
    let mut client = caller.client().await;
    assert_eq!(
        client.unary("secret").await.unwrap_err().code(),
        Code::Unavailable
    );
    // A TLS handshake, and nothing after it.
    assert_eq!(heard.lock()[..2], [22, 3]);
    let is_http2 = |bytes: &[u8]| bytes.windows(14).any(|part| part == b"PRI * HTTP/2.0");
    assert!(!is_http2(&heard.lock()));

    // An identity that was forgotten switches nothing off.
    heard.lock().clear();
    let mut forgotten = mesh.calling(&[address]);
    forgotten
        .targets
        .get_mut(AUTHORITY)
        .unwrap()
        .identity
        .clear();
    caller.set(forgotten);
    assert_eq!(
        client.unary("secret").await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(*heard.lock(), b"");

    // Neither does a neighbour without TLS at the same address, nor its connection.
    let echo = Echo::default();
    let (address, _task) = echo.serve(CancellationToken::new()).await;
    let mut both = mesh.calling(&[address]);
    let neighbour = Target {
        authority: "legacy:80".to_owned(),
        ..outside(&mesh, &[address])
            .targets
            .remove(AUTHORITY)
            .unwrap()
    };
    both.targets.insert("legacy:80".to_owned(), neighbour);
    caller.set(outside(&mesh, &[address]));
    eventually("the cleartext target is in force", || {
        caller.metrics.encode().contains("weft_upstream_endpoints")
    })
    .await;
    client.unary("hello").await.unwrap();
    caller.set(both);
    // The configuration is in force at the first call that is refused.
    let mut refused = client.unary("secret").await;
    for _ in 0..500 {
        if refused.is_err() {
            break;
        }
        refused = client.unary("secret").await;
    }
    refused.unwrap_err();
    let before = echo.call_count();
    for _ in 0..3 {
        client.unary("secret").await.unwrap_err();
    }
    assert_eq!(echo.call_count(), before);
}

#[tokio::test]
async fn a_channel_calls_a_service_outside_the_mesh_without_naming_itself() {
    let mesh = Mesh::new("outside.local");
    let echo = Echo::default();
    let (address, _task) = echo.serve(CancellationToken::new()).await;
    let (snapshots, followed) = watch::channel(Some(Arc::new(outside(&mesh, &[address]))));
    let metrics = Metrics::new();
    let channel = Channel::new(followed, mesh.identity("orders"), &metrics);
    let mut client = tonic::client::Grpc::new(channel.service(AUTHORITY));
    for ours in ["x-weft-subject", "x-weft-criticality"] {
        client.ready().await.unwrap();
        let asked = request(&format!("header {ours}"), &[(ours, "SHEDDABLE")]);
        let seen = client.unary(asked, path("Unary"), codec()).await.unwrap();
        assert_eq!(seen.into_inner(), "-", "{ours} left the mesh");
    }
    assert!(
        metrics
            .encode()
            .contains("connection_security_policy=\"none\""),
        "{}",
        metrics.encode()
    );

    // With TLS from here on, the connection that is there is not used any more.
    snapshots.send_replace(Some(Arc::new(mesh.calling(&[address]))));
    let mut answer = Ok(());
    for _ in 0..500 {
        client.ready().await.unwrap();
        let asked = Request::new("hello".to_owned());
        let called = client.unary(asked, path("Unary"), codec()).await;
        answer = called.map(|_| ());
        if answer.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    let before = echo.call_count();
    client.ready().await.unwrap();
    let asked = Request::new("hello".to_owned());
    client
        .unary(asked, path("Unary"), codec())
        .await
        .unwrap_err();
    assert_eq!(echo.call_count(), before);
}
