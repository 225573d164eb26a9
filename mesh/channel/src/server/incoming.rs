//! Connections for tonic's server, each with its caller.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::Connected;
use tracing::warn;

use super::{Caller, Server, Shared};

/// Connections held at once, those in a handshake included; more are closed at once.
const CONNECTIONS: usize = 1024;
/// Finished handshakes that wait for the server.
const QUEUE: usize = 16;
/// Out of file descriptors, mostly: accepting again at once would only spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Connections whose peers have proven who they are. Dropped, it stops accepting.
pub struct Incoming {
    accepted: mpsc::Receiver<Accepted>,
    _accepting: AbortOnDropHandle<()>,
}

/// One of them.
pub struct Accepted {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    /// Accepts connections on `listener`. Handshakes go on beside each other, so that a peer that
    /// dawdles holds up nobody. Must be called inside a tokio runtime.
    pub fn incoming(&self, listener: TcpListener) -> Incoming {
        let (sender, accepted) = mpsc::channel(QUEUE);
        let accepting = accept(listener, Arc::clone(&self.shared), sender);
        Incoming {
            accepted,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, sender: mpsc::Sender<Accepted>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut handshakes = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            },
            Some(_) = handshakes.join_next() => continue,
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            warn!(limit = CONNECTIONS, "connection refused, too many are open");
            continue;
        };
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        handshakes.spawn(async move {
            if let Some((stream, caller)) = shared.accept(stream).await {
                let accepted = Accepted {
                    stream,
                    caller,
                    _permit: permit,
                };
                // A server that has stopped takes no more.
                let _ = sender.send(accepted).await;
            }
        });
    }
}

impl Stream for Incoming {
    type Item = io::Result<Accepted>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(cx).map(|next| next.map(Ok))
    }
}

impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
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
