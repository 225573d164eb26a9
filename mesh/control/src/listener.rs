//! The TLS port: handshakes beside each other, each with an end, no more than a fixed number.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::Connected;
use weft_identity::{Refusal, peer_id};

use crate::{metrics::Metrics, peer::Peer};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 4096;
const QUEUE: usize = 64;
/// Accepting fails for lack of file descriptors; trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Accepts until `shutdown`; finished handshakes come out of the returned queue.
pub(crate) fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    metrics: Metrics,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, queue) = mpsc::channel(QUEUE);
    let handshakes = tasks.clone();
    tasks.spawn(async move {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let connection = tokio::select! {
                () = shutdown.cancelled() => return,
                connection = listener.accept() => connection,
            };
            let (stream, address) = match connection {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                metrics.refused("TOO_MANY_CONNECTIONS");
                tracing::warn!(peer = %address, limit = MAX_CONNECTIONS, "too many connections");
                continue;
            };
            let acceptor = acceptor.clone();
            let accepted = accepted.clone();
            let metrics = metrics.clone();
            let shutdown = shutdown.clone();
            handshakes.spawn(async move {
                let shaking = handshake(acceptor, stream);
                let shaken = tokio::select! {
                    () = shutdown.cancelled() => return,
                    shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking) => shaken,
                };
                match shaken {
                    Ok(Ok((stream, identity))) => {
                        let peer = Peer { identity, address };
                        let connection = Connection {
                            stream,
                            peer,
                            _permit: permit,
                        };
                        // The queue is closed only when the server has stopped.
                        let _ = accepted.send(Ok(connection)).await;
                    }
                    Ok(Err(refusal)) => {
                        metrics.refused(refusal.reason());
                        let reason = refusal.reason();
                        tracing::warn!(peer = %address, reason, %refusal, "connection refused");
                    }
                    Err(_) => {
                        metrics.refused("HANDSHAKE_TIMEOUT");
                        tracing::warn!(peer = %address, "handshake took too long");
                    }
                }
            });
        }
    });
    queue
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<weft_identity::SpiffeId>), Refusal> {
    let expected = "an identity of this mesh";
    let broken = |error: io::Error| Refusal::from_io(&error, expected);
    stream.set_nodelay(true).map_err(broken)?;
    let stream = acceptor.accept(stream).await.map_err(broken)?;
    let identity = match peer_id(stream.get_ref().1) {
        Ok(identity) => Some(identity),
        Err(Refusal::NoCertificate { .. }) => None,
        Err(refusal) => return Err(refusal),
    };
    Ok((stream, identity))
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
