//! What is repeated, and what never is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::{
    echo::Echo,
    support::{Client, Mesh, eventually, nobody},
};

#[tokio::test]
async fn a_safe_method_is_retried_and_tells_how_often() {
    let mesh = Mesh::new("retries.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    echo.fail_next(2);
    assert_eq!(client.safe("flaky").await.unwrap(), "2");
    assert_eq!(echo.call_count(), 3);
    echo.fail_next(3);
    assert_eq!(client.safe("flaky").await.unwrap_err().message(), "not yet");
    assert_eq!(echo.call_count(), 6);
}

#[tokio::test]
async fn a_method_without_a_policy_and_a_call_that_is_a_retry_are_sent_once() {
    let mesh = Mesh::new("retries.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    assert!(client.unary("unavailable").await.is_err());
    assert_eq!(echo.call_count(), 1);
    let mut request = Request::new("unavailable".to_owned());
    request
        .metadata_mut()
        .insert("grpc-previous-rpc-attempts", "1".parse().unwrap());
    assert!(client.call("Safe", request).await.is_err());
    assert_eq!(echo.call_count(), 2);
}

#[tokio::test]
async fn a_storm_of_failures_is_hardly_amplified() {
    let mesh = Mesh::new("retries.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    for _ in 0..400 {
        assert!(client.safe("unavailable").await.is_err());
    }
    let attempts = echo.call_count();
    assert!(
        (400..=480).contains(&attempts),
        "{attempts} attempts for 400 calls"
    );
}

/// Calls in a loop until told to stop; returns every failure.
fn load(
    mut client: Client,
    good: &Arc<AtomicUsize>,
    stop: &CancellationToken,
) -> JoinHandle<Vec<tonic::Status>> {
    let (good, stop) = (Arc::clone(good), stop.clone());
    tokio::spawn(async move {
        let mut bad = Vec::new();
        while !stop.is_cancelled() {
            match client.safe("x").await {
                Ok(_) => {
                    good.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => bad.push(status),
            }
        }
        bad
    })
}

fn process() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_fails_no_safe_call() {
    let mesh = Arc::new(Mesh::new("retries.local"));
    // Runtimes of their own, because shutting one down closes its sockets like a killed process.
    let (first_app, first_sidecar) = (process(), process());
    let echo = Echo::default();
    let serving = first_app.spawn(async move { echo.serve(CancellationToken::new()).await.0 });
    let app = serving.await.unwrap();
    let own = Arc::clone(&mesh);
    let starting = first_sidecar
        .spawn(async move { own.sidecar("echo", app, own.allowing(&["orders"])).await });
    let first = starting.await.unwrap();
    let (_, second, _) = mesh.echo().await;
    let caller = mesh
        .caller("orders", &[first.inbound, second.inbound])
        .await;
    let (good, stop) = (Arc::default(), CancellationToken::new());
    let mut loads = Vec::new();
    for _ in 0..8 {
        loads.push(load(caller.client().await, &good, &stop));
    }
    let more_calls = async |count| {
        let wanted = good.load(Ordering::Relaxed) + count;
        eventually("calls go on", || good.load(Ordering::Relaxed) >= wanted).await;
    };
    more_calls(100).await;
    // First the workload dies, then its sidecar as well.
    first_app.shutdown_background();
    more_calls(150).await;
    first_sidecar.shutdown_background();
    more_calls(150).await;
    stop.cancel();
    for load in loads {
        let bad = load.await.unwrap();
        assert!(bad.is_empty(), "{} failed: {:?}", bad.len(), bad[0]);
    }
}

#[tokio::test]
async fn a_call_that_reached_no_workload_is_sent_elsewhere_whatever_its_method() {
    let mesh = Mesh::new("retries.local");
    let (echo, alive, _) = mesh.echo().await;
    let nobody = nobody().await;
    let dead = mesh
        .sidecar("echo", nobody, mesh.allowing(&["orders"]))
        .await;
    let caller = mesh
        .caller("orders", &[dead.inbound, alive.inbound, nobody])
        .await;
    let mut client = caller.client().await;
    for _ in 0..20 {
        client.unary("hello").await.unwrap();
    }
    assert_eq!(echo.call_count(), 20);
}

#[tokio::test]
async fn a_workload_that_is_gone_for_good_is_named_after_a_second() {
    let mesh = Mesh::new("retries.local");
    let nobody = nobody().await;
    let dead = mesh
        .sidecar("echo", nobody, mesh.allowing(&["orders"]))
        .await;
    let caller = mesh.caller("orders", &[dead.inbound]).await;
    let started = Instant::now();
    let status = caller.client().await.unary("hello").await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "WORKLOAD_UNREACHABLE");
}

#[tokio::test]
async fn a_call_waits_for_a_workload_that_restarts() {
    let mesh = Mesh::new("retries.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[]).await;
    let mut client = caller.client().await;
    let call = tokio::spawn(async move { client.unary("hello").await });
    sleep(Duration::from_millis(200)).await;
    caller.set(mesh.calling(&[server.inbound]));
    assert_eq!(call.await.unwrap().unwrap(), "hello");
    caller.set(mesh.calling(&[]));

    // A new process of the same workload elsewhere, with its sidecar.
    let again = Echo::default();
    let (address, _task) = again.serve(CancellationToken::new()).await;
    let renewed = mesh
        .sidecar("echo", address, mesh.allowing(&["orders"]))
        .await;
    sleep(Duration::from_millis(50)).await;
    let mut client = caller.client().await;
    let call = tokio::spawn(async move { client.unary("hello").await });
    sleep(Duration::from_millis(200)).await;
    caller.set(mesh.calling(&[renewed.inbound]));
    assert_eq!(call.await.unwrap().unwrap(), "hello");
    assert_eq!((echo.call_count(), again.call_count()), (1, 1));
}

#[tokio::test]
async fn no_endpoint_for_a_second_is_an_answer() {
    let mesh = Mesh::new("retries.local");
    let caller = mesh.caller("orders", &[]).await;
    let status = caller.client().await.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "NO_HEALTHY_ENDPOINT");
}
