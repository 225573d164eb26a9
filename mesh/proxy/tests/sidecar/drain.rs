//! A sidecar that goes fails nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use weft_identity::{Expected, client_config, server_name};

use crate::{
    support::{Mesh, eventually},
    wire::{Peer, headers},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_replica_fails_no_call_of_any_method() {
    let mesh = Mesh::new("drain.local");
    let (_, first, _) = mesh.echo().await;
    let (_, second, _) = mesh.echo().await;
    let caller = mesh
        .caller("orders", &[first.inbound, second.inbound])
        .await;
    let (stop, good) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut loads = Vec::new();
    for _ in 0..8 {
        let mut client = caller.client().await;
        let (stop, good) = (stop.clone(), good.clone());
        loads.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                client.unary("hello").await.unwrap();
                good.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    eventually("calls are made", || good.load(Ordering::Relaxed) > 50).await;
    // The endpoint stays in the configuration: draining alone must do.
    first.shutdown.cancel();
    timeout(Duration::from_secs(8), first.task)
        .await
        .expect("it drains")
        .unwrap();
    let before = good.load(Ordering::Relaxed);
    eventually("calls go on", || good.load(Ordering::Relaxed) > before + 50).await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("no call failed");
    }
}

#[tokio::test]
async fn a_call_under_way_is_finished() {
    let mesh = Mesh::new("drain.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    let mut ticks = client.ticks("100").await.unwrap();
    ticks.message().await.unwrap();
    server.shutdown.cancel();
    let mut count = 1;
    while let Some(_tick) = ticks.message().await.unwrap() {
        count += 1;
    }
    assert_eq!(count, 100);
    timeout(Duration::from_secs(8), server.task)
        .await
        .expect("it drains")
        .unwrap();
    assert_eq!(echo.dropped_count(), 0);
}

#[tokio::test]
async fn a_caller_that_was_still_connecting_is_answered() {
    let mesh = Mesh::new("drain.local");
    let (_echo, server, _) = mesh.echo().await;
    let tcp = TcpStream::connect(server.inbound).await.unwrap();
    server.shutdown.cancel();
    eventually("nobody else gets in", || {
        std::net::TcpStream::connect(server.inbound).is_err()
    })
    .await;
    let config = client_config(&mesh.identity("orders"), Expected::Any).unwrap();
    let tls = TlsConnector::from(config).connect(server_name(server.inbound.ip()), tcp);
    let mut caller = Peer::calling(tls.await.expect("the handshake goes on"));
    // It has not read that the sidecar goes when it calls, as callers do not wait for SETTINGS.
    let stream = caller.call(&[], true);
    let unimplemented = headers("12", true);
    assert_eq!(caller.next().await, (stream, unimplemented));
    timeout(Duration::from_secs(8), server.task)
        .await
        .expect("it drains")
        .unwrap();
}
