//! One accepted HTTP/2 connection, with limits against peers that flood, stall or stay for ever.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};
use weft_channel::Body;

/// Streams one connection may have open.
const CONCURRENT_STREAMS: u32 = 256;
/// Decoded request headers.
const HEADER_LIST_BYTES: u32 = 32 * 1024;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Room for all streams: some that are not read must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = CONCURRENT_STREAMS * STREAM_WINDOW_BYTES;
/// A peer that does not answer a PING within the sum of both is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take until it has sent the 24 bytes every HTTP/2 connection begins with.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
const PREFACE_BYTES: usize = 24;
/// Connections are asked to go after half the default life of a certificate, plus up to a tenth, so that
/// none lives on a certificate that ended long ago.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// Connections a listener holds at once; more are closed at once.
const CONNECTIONS: usize = 1024;

/// When connections end. Cloning gives the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    /// Cancelled: GOAWAY, finish open streams.
    pub(crate) drain: CancellationToken,
    /// Cancelled: close now.
    pub(crate) stop: CancellationToken,
    /// Every connection's task.
    pub(crate) tasks: TaskTracker,
}

/// Accepts until the drain begins. `handle` runs as a task per connection.
pub(crate) async fn accept<H, F>(listener: &TcpListener, lifecycle: &Lifecycle, handle: H)
where
    H: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.drain.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => {
                    let _ = stream.set_nodelay(true);
                    let handled = handle(stream, peer);
                    lifecycle
                        .tasks
                        .spawn(hold(permit, handled, lifecycle.stop.clone()));
                }
                Err(_) => {
                    warn!(%peer, limit = CONNECTIONS, "connection refused, too many are open")
                }
            },
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn hold(
    permit: OwnedSemaphorePermit,
    handled: impl Future<Output = ()>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = handled => {}
        () = stop.cancelled() => {}
    }
    drop(permit);
}

/// Serves HTTP/2 on `io` until the peer closes it, it is too old, or the drain begins and its streams
/// are done.
pub(crate) async fn serve<T, S, F>(io: T, peer: SocketAddr, drain: &CancellationToken, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let received = Arc::new(AtomicUsize::new(0));
    let io = TokioIo::new(Counted {
        io,
        received: Arc::clone(&received),
    });
    let service = service_fn(move |request| {
        let response = service(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut connection = pin!(builder().serve_connection(io, service));
    let mut preface = pin!(sleep(PREFACE_TIMEOUT));
    let mut preface_is_due = true;
    let mut old = pin!(sleep(MAX_AGE.mul_f64(rand::random_range(1.0..1.1))));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%peer, %error, "connection broke");
                }
                return;
            }
            () = preface.as_mut(), if preface_is_due => {
                preface_is_due = false;
                if received.load(Ordering::Relaxed) < PREFACE_BYTES {
                    warn!(%peer, "connection closed, no HTTP/2 preface came");
                    return;
                }
            }
            () = old.as_mut(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = drain.cancelled(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Counts what the peer has sent.
struct Counted<T> {
    io: T,
    received: Arc<AtomicUsize>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.received.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
