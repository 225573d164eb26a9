//! The port: connections in bounded number and time, HTTP/1.1 and HTTP/2 told apart by their first
//! bytes, a drain that finishes what is open.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weft_channel::{Body, body};

use crate::{front::Front, stall::Stalling, watched::Watched};

/// By then a connection must have sent the head of its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// By then each further request head must be whole, once it began; an idle connection ends with it.
const HEADER_READ: Duration = Duration::from_secs(30);
/// A caller that reads nothing for so long is let go.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Accepts connections until `stop`, then lets open requests finish for `grace`.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    max_connections: usize,
    stop: CancellationToken,
    grace: Duration,
) {
    let builder = Arc::new(builder());
    let permits = Arc::new(Semaphore::new(max_connections.max(1)));
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let connection = connection(
            Arc::clone(&builder),
            stream,
            peer,
            Arc::clone(&front),
            stop.clone(),
        );
        let kill = kill.clone();
        let open = front.metrics.connections.clone();
        connections.spawn(async move {
            open.inc();
            tokio::select! {
                () = connection => {}
                () = kill.cancelled() => {}
            }
            open.dec();
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections cut at the end of the grace period"
        );
        kill.cancel();
        connections.wait().await;
    }
}

/// Waits for room first: the rest waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for more.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(error) => {
            // Out of file descriptors, mostly: it passes when others close.
            tracing::warn!(%error, "cannot accept");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .max_headers(100)
        .max_buf_size(64 * 1024)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(100)
        .max_header_list_size(32 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(100)
        .max_local_error_reset_streams(256);
    builder
}

/// Who sends a request that is not read to its end learns that no other can follow it: RFC 9112, 9.6.
async fn answer(front: Arc<Front>, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let is_http1 = request.version() == Version::HTTP_11;
    let (head, content) = request.into_parts();
    let (content, is_read) = Watched::new(content);
    let request = Request::from_parts(head, body::boxed(content));
    let mut response = front.handle(peer, request).await;
    if is_http1 && !is_read.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn connection(
    builder: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<Front>,
    stop: CancellationToken,
) {
    let began = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let began = Arc::clone(&began);
        move |request: Request<Incoming>| {
            began.store(true, Ordering::Relaxed);
            let answer = answer(Arc::clone(&front), peer, request);
            async move { Ok::<_, Infallible>(answer.await) }
        }
    });
    let io = TokioIo::new(Stalling::new(stream, WRITE_STALL));
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let first = sleep(FIRST_REQUEST);
    tokio::pin!(first);
    let mut is_new = true;
    let mut is_open = true;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = error.to_string(), "connection ended");
                }
                return;
            }
            () = first.as_mut(), if is_new => {
                if !began.load(Ordering::Relaxed) {
                    tracing::debug!(%peer, "connection sent no request");
                    return;
                }
                is_new = false;
            }
            () = stop.cancelled(), if is_open => {
                is_open = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
