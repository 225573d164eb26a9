//! Nobody gets in without a proven and allowed name, and the log says who tried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    logs,
    support::{Mesh, eventually},
};

#[tokio::test]
async fn a_caller_without_a_rule_is_denied_until_a_rule_comes_on_the_same_connection() {
    let mesh = Mesh::new("identity.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("carts", &[server.inbound]).await;
    let mut client = caller.client().await;

    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("CALLER_NOT_ALLOWED", "weft.mesh")
    );
    assert_eq!(info.metadata["caller"], mesh.id("carts").as_str());
    assert_eq!(info.metadata["rule"], "default-deny");
    let carts = mesh.id("carts");
    logs::line(&[
        "CALLER_NOT_ALLOWED",
        carts.as_str(),
        "default-deny",
        "/test.Echo/Unary",
    ])
    .await;
    assert_eq!(echo.call_count(), 0);

    server.set(mesh.allowing(&["carts"]));
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    server.set(mesh.allowing(&[]));
    assert_eq!(
        client.unary("hello").await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(echo.call_count(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_somebody_else_gets_no_request() {
    let mesh = Mesh::new("identity.local");
    let (echo, _, _) = mesh.echo().await;
    let (app, _task) = echo.serve(tokio_util::sync::CancellationToken::new()).await;
    let impostor = mesh.sidecar("carts", app, mesh.allowing(&["orders"])).await;
    let caller = mesh.caller("orders", &[impostor.inbound]).await;
    let status = caller.client().await.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "UPSTREAM_CONNECT_FAILED");
    assert!(
        status.message().contains(mesh.id("carts").as_str()),
        "{status:?}"
    );
    assert!(
        status.message().contains(mesh.id("echo").as_str()),
        "{status:?}"
    );
    assert_eq!(echo.call_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_failed_call() {
    let mesh = Mesh::new("identity.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let good = Arc::new(AtomicUsize::new(0));
    let mut loads = Vec::new();
    for _ in 0..8 {
        let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
        let outbound = caller.client().await;
        loads.push(tokio::spawn(async move {
            let mut client = outbound;
            while !stop.load(Ordering::Relaxed) {
                client.unary("hello").await.unwrap();
                good.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..20 {
        for (running, account) in [(&server, "echo"), (&caller, "orders")] {
            let id = mesh.id(account);
            let svid = mesh.authority.issue(&id, Duration::from_secs(300)).unwrap();
            running.identity.replace(svid);
        }
        let before = good.load(Ordering::Relaxed);
        let goes_on = || good.load(Ordering::Relaxed) > before + 20;
        eventually("calls go on", goes_on).await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("no call failed");
    }
    let shown = &server.json("/certs").await["certificates"][0];
    assert!(shown["secondsLeft"].as_u64().unwrap() <= 300);
}
