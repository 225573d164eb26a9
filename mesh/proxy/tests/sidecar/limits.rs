//! Peers that stall hold little and hold up nobody else.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{echo::FLOOD_BYTES, support::Mesh};

#[tokio::test]
async fn readers_that_stall_hold_little_and_block_nobody_else() {
    let mesh = Mesh::new("limits.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    const STALLED: usize = 40;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        // A connection each: what they do not read must not fill a window that they share.
        let mut client = caller.client().await;
        let flooded = async {
            let mut flood = client.ticks("flood").await.unwrap();
            flood.message().await.unwrap();
            flood
        };
        let flood = timeout(Duration::from_secs(5), flooded).await;
        stalled.push(flood.expect("a stream passes the stalled ones"));
    }
    let text = "sock ".repeat(20_000);
    let mut client = caller.client().await;
    for _ in 0..10 {
        let answered = timeout(Duration::from_secs(5), client.unary(&text)).await;
        assert!(answered.expect("a call passes the stalled ones").unwrap() == text);
    }
    // Every hop buffers its windows and no more: workload, two sidecars, client.
    let held = echo.flooded.load(Ordering::SeqCst) * FLOOD_BYTES / STALLED;
    assert!(held < 1024 * 1024, "{held} bytes for a stalled reader");
}

#[tokio::test]
async fn a_long_stream_crosses_in_order_and_whole() {
    let mesh = Mesh::new("limits.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut flood = caller.client().await.ticks("flood").await.unwrap();
    let wanted = 16 * 1024 * 1024 / FLOOD_BYTES;
    for _ in 0..wanted {
        let message = flood.message().await.unwrap().unwrap();
        assert_eq!(message.len(), FLOOD_BYTES);
    }
    let ahead = echo.flooded.load(Ordering::SeqCst) - wanted;
    assert!(ahead * FLOOD_BYTES < 1024 * 1024, "{ahead} messages ahead");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mesh = Mesh::new("limits.local");
    let (_echo, server, _) = mesh.echo().await;
    let closed = async |listener| {
        let mut tcp = TcpStream::connect(listener).await.unwrap();
        tcp.write_all(b"P").await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(Duration::from_secs(8), tcp.read_to_end(&mut answer));
        let _ = end.await.expect("it is closed");
    };
    tokio::join!(closed(server.inbound), closed(server.outbound));
}
