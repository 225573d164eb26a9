//! What a sidecar finds out about endpoints by itself: probes and names.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Status};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_prost::ProstCodec;
use weft_model::dataplane::{Discovery, DnsName, HealthCheck, LoadBalancing};

use crate::{
    echo::Echo,
    support::{AUTHORITY, Mesh, Running},
};

/// Who may call one method, and with it what the mesh file's health checks need.
const MESH: &str = r#"
mesh: { trustDomain: probes.local, namespace: shop }
services:
  orders: { port: 7070 }
  echo:
    port: 7070
    healthCheckConfig: {}
    authz:
      allow_rules:
        - name: orders-echoes
          source: { principals: ["spiffe://probes.local/ns/shop/sa/orders"] }
          request: { paths: [/test.Echo/Unary] }
"#;

/// A workload `echo` that also answers health checks, with its sidecar.
async fn probed(mesh: &Mesh) -> (Echo, Running, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let echo = Echo::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .add_service(echo.clone());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let file = weft_model::Mesh::parse(MESH, "mesh.yaml").unwrap();
    let mut snapshot = mesh.allowing(&[]);
    snapshot.inbound = weft_model::inbound(&file, "echo");
    let server = mesh.sidecar("echo", app, snapshot).await;
    (echo, server, reporter)
}

/// Waits until the caller's second endpoint has this health.
async fn second_is(caller: &Running, health: &str) {
    for _ in 0..500 {
        let clusters = caller.json("/clusters?format=json").await;
        if clusters[0]["endpoints"][1]["health"] == health {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the second endpoint never was {health}");
}

#[tokio::test]
async fn a_sick_endpoint_is_left_out_until_it_is_well() {
    let mesh = Mesh::new("probes.local");
    let (one, first, _healthy) = probed(&mesh).await;
    let (two, second, reporter) = probed(&mesh).await;
    let caller = mesh
        .caller_of(&[&first, &second], |target| {
            target.load_balancing = LoadBalancing::RoundRobin;
            target.health_check = Some(HealthCheck {
                service_name: String::new(),
                interval: Duration::from_millis(100),
                timeout: Duration::from_secs(1),
                unhealthy_threshold: 2,
                healthy_threshold: 1,
            });
        })
        .await;
    let mut client = caller.client().await;
    client.unary("a first call").await.unwrap();
    reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    second_is(&caller, "UNHEALTHY").await;
    let before = (one.call_count(), two.call_count());
    for _ in 0..10 {
        client.unary("hello").await.unwrap();
    }
    let after = (one.call_count(), two.call_count());
    assert_eq!(after, (before.0 + 10, before.1));
    let metrics = caller.metrics.encode();
    let line = r#"weft_upstream_endpoints{grpc_target="echo:7070",health="UNHEALTHY"} 1"#;
    assert!(metrics.contains(line), "no `{line}` in:\n{metrics}");
    let attempts = r#"grpc_client_attempt_started_total{grpc_method="test.Echo/Unary",grpc_target="echo:7070"} 11"#;
    assert!(
        metrics.contains(attempts),
        "probes are no calls:\n{metrics}"
    );

    reporter
        .set_service_status("", ServingStatus::Serving)
        .await;
    second_is(&caller, "HEALTHY").await;
    for _ in 0..10 {
        client.unary("hello").await.unwrap();
    }
    assert_eq!(two.call_count(), before.1 + 5);
}

#[tokio::test]
async fn who_may_call_may_check_health_and_nothing_else_of_it() {
    let mesh = Mesh::new("probes.local");
    let (_, server, _healthy) = probed(&mesh).await;
    let ask = async |account, method| {
        let caller = mesh.caller(account, &[server.inbound]).await;
        let path = format!("/grpc.health.v1.Health/{method}").parse().unwrap();
        let mut client = caller.client().await;
        client.0.ready().await.unwrap();
        let request = Request::new(String::new());
        // The answer's only field is a number.
        let codec = ProstCodec::<String, i32>::default();
        let answer = client.0.unary(request, path, codec).await?;
        Ok::<i32, Status>(answer.into_inner())
    };
    let status = ask("orders", "Check").await.unwrap();
    assert_eq!(status, ServingStatus::Serving as i32);
    let refused = ask("orders", "Watch").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = ask("carts", "Check").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_found_out_without_another_call() {
    let mesh = Mesh::new("probes.local");
    let (_, first, _healthy) = probed(&mesh).await;
    let (_, second, _reporter) = probed(&mesh).await;
    let caller = mesh
        .caller_of(&[&first, &second], |target| {
            target.health_check = Some(HealthCheck {
                service_name: String::new(),
                interval: Duration::from_millis(100),
                timeout: Duration::from_secs(1),
                unhealthy_threshold: 2,
                healthy_threshold: 1,
            });
        })
        .await;
    caller.client().await.unary("hello").await.unwrap();
    second_is(&caller, "HEALTHY").await;
    second.shutdown.cancel();
    second_is(&caller, "UNHEALTHY").await;
}

#[tokio::test]
async fn a_name_is_resolved_and_its_addresses_are_called() {
    let mesh = Mesh::new("names.local");
    let (echo, server, _) = mesh.echo().await;
    let by_name = |host: &str| {
        let mut snapshot = mesh.calling(&[]);
        let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
        target.discovery = Discovery::Dns(DnsName {
            host: host.to_owned(),
            port: server.inbound.port(),
            refresh: Duration::from_secs(60),
        });
        snapshot
    };
    let nobody = "127.0.0.1:9".parse().unwrap();
    let caller = mesh.sidecar("orders", nobody, by_name("localhost")).await;
    let mut client = caller.client().await;
    client.unary("hello").await.unwrap();
    // Another configuration with the same name changes nothing: not even the connection.
    let connections = r#"weft_downstream_connections{side="inbound"} 1"#;
    assert!(server.metrics.encode().contains(connections));
    caller.set(by_name("localhost"));
    client.unary("hello").await.unwrap();
    assert!(server.metrics.encode().contains(connections));
    assert_eq!(echo.call_count(), 2);
}
