//! Endpoints come and go; what was kept for them goes with them.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::support::{Mesh, eventually};

/// Another address of the same endpoint.
async fn alias(of: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(of).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    address
}

#[tokio::test]
async fn nothing_is_kept_for_endpoints_that_are_gone_once_their_calls_are_over() {
    let mesh = Mesh::new("churn.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[alias(server.inbound).await]).await;
    let kept = |count: usize| {
        let metrics = caller.metrics.encode();
        metrics.contains(&format!("weft_upstream_pools {count}.0\n"))
    };
    let mut client = caller.client().await;
    let mut ticks = client.ticks("forever").await.unwrap();
    for _ in 0..20 {
        caller.set(mesh.calling(&[alias(server.inbound).await]));
        client.unary("hello").await.unwrap();
        assert!(ticks.message().await.unwrap().is_some());
    }
    eventually("the present endpoint and the stream's are left", || kept(2)).await;
    drop(ticks);
    eventually("the present endpoint is left", || kept(1)).await;
    client.unary("hello").await.unwrap();
}
