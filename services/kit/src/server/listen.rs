//! Connections: HTTP/2 without TLS, which is the sidecar's business, unless somebody else serves them.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::guard::Guard;

/// Serves one accepted connection with the service's handlers until it ends. Once the token is
/// cancelled, open calls are finished and no more taken.
pub type ServeConnection =
    Arc<dyn Fn(TcpStream, App, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// All of a service's handlers, behind its span, metrics, deadline and panic net.
#[derive(Clone)]
pub struct App(Guard);

impl App {
    pub(super) fn new(guard: Guard) -> Self {
        Self(guard)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("App")
    }
}

impl<B> Service<Request<B>> for App
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request.map(Body::new));
        Box::pin(async { Ok(answer.await?.map(Body::new)) })
    }
}

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 1_000;

/// Takes connections until `drain` resolves; those it took end with `closing`, each when its open
/// calls are done.
pub(super) async fn accept(
    listener: &TcpListener,
    app: App,
    serve: &ServeConnection,
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
                connections.spawn(serve(stream, app.clone(), closing.clone()));
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

/// In cleartext, for the sidecar beside it.
pub(super) async fn cleartext(stream: TcpStream, App(app): App, closing: CancellationToken) {
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        app.call(request.map(Body::new))
    });
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
