//! Connections: HTTP/2 without TLS, which is the sidecar's business.

use std::{future::Future, io, time::Duration};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::guard::Guard;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 1_000;

/// Takes connections until `drain` resolves; those it took end with `closing`, each when its open
/// calls are done.
pub(super) async fn accept(
    listener: &TcpListener,
    app: Guard,
    connections: &mut JoinSet<()>,
    closing: &CancellationToken,
    drain: impl Future<Output = ()>,
) {
    tokio::pin!(drain);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut drain => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, app.clone(), closing.clone()));
            }
            // Of the one connection, or out of file descriptors: others may still be served.
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, app: Guard, closing: CancellationToken) {
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
    let service = hyper::service::service_fn(move |request| app.call(request));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}
