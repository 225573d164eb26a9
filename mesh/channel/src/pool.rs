//! HTTP/2 connections with mutual TLS, shared by all calls to one endpoint.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, future::Shared};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;
use tracing::debug;
use weft_identity::{Expected, Identity, Refusal, SpiffeId, client_config, server_name};

use crate::replay::AttemptBody;

/// How long TCP, TLS and HTTP/2 together may take. Inside a cluster they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One connection takes this many streams before another is made (our sidecars allow 256).
const STREAMS_PER_CONNECTION: u32 = 200;
const CONNECTIONS_PER_ENDPOINT: usize = 8;
/// A peer that vanished without a word is noticed within the sum of both.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Room for all streams: some that are not read must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_PER_CONNECTION * STREAM_WINDOW_BYTES;

/// Why there is no connection to an endpoint.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Failed(Arc<str>),
    #[error("all {CONNECTIONS_PER_ENDPOINT} connections to the endpoint are full")]
    Full,
}

/// Where to, and who must answer: an address that another service took over is another key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The peer's address.
    pub address: SocketAddr,
    /// The SPIFFE ID the peer must prove. `None`: cleartext HTTP/2, for a workload on this machine.
    pub identity: Option<String>,
}

/// Connections to endpoints, made when a stream needs one.
pub struct Pool {
    identity: Option<Arc<Identity>>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    tasks: TaskTracker,
}

struct Slot {
    key: Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Connection>,
    connecting: Option<Shared<BoxFuture<'static, Result<(), ConnectError>>>>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<AttemptBody>,
    streams: Arc<AtomicU32>,
}

/// The right to one stream on a connection; counted until it is dropped.
pub struct Lease {
    pub(crate) sender: SendRequest<AttemptBody>,
    streams: Arc<AtomicU32>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A pool that proves itself as `identity`; without one it makes cleartext connections only. Its
    /// connections run on `tasks`.
    pub fn new(identity: Option<Arc<Identity>>, tasks: TaskTracker) -> Self {
        Self {
            identity,
            slots: Mutex::default(),
            tasks,
        }
    }

    /// Forgets endpoints that are gone; their connections close when their last stream ends.
    pub(crate) fn keep(&self, wanted: &HashSet<Key>) {
        self.slots.lock().retain(|key, _| wanted.contains(key));
    }

    /// A connection with room for one more stream, made if there is none.
    pub(crate) async fn lease(&self, key: &Key) -> Result<Lease, ConnectError> {
        let slot = self.slot(key);
        // More rounds than there can be connections mean that the peer closes each as soon as it is made.
        for _ in 0..=CONNECTIONS_PER_ENDPOINT {
            let connecting = {
                let mut state = slot.state.lock();
                if let Some(lease) = state.lease() {
                    return Ok(lease);
                }
                if state.connections.len() >= CONNECTIONS_PER_ENDPOINT {
                    return Err(ConnectError::Full);
                }
                let connecting = &mut state.connecting;
                connecting
                    .get_or_insert_with(|| self.connect(&slot))
                    .clone()
            };
            // Callers wait for one attempt together; the loop takes a stream on what it made.
            connecting.await?;
        }
        Err(ConnectError::Failed(
            "the peer closes connections at once".into(),
        ))
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let slot = slots.entry(key.clone()).or_insert_with(|| {
            Arc::new(Slot {
                key: key.clone(),
                state: Mutex::default(),
            })
        });
        Arc::clone(slot)
    }

    /// Connects in a task of its own, so that a caller that gives up does not take others' connection
    /// with it.
    fn connect(&self, slot: &Arc<Slot>) -> Shared<BoxFuture<'static, Result<(), ConnectError>>> {
        let slot = Arc::clone(slot);
        let identity = self.identity.clone();
        let tasks = self.tasks.clone();
        let task = self.tasks.spawn(async move {
            let connected = match timeout(CONNECT_TIMEOUT, open(identity, &slot.key)).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
            };
            let mut state = slot.state.lock();
            state.connecting = None;
            match connected {
                Ok((sender, connection)) => {
                    tasks.spawn(connection);
                    state.connections.push(Connection {
                        sender,
                        streams: Arc::default(),
                    });
                    Ok(())
                }
                Err(message) => Err(ConnectError::Failed(message.into())),
            }
        });
        let gone = |_| Err(ConnectError::Failed("the connecting task is gone".into()));
        task.map(move |result| result.unwrap_or_else(gone))
            .boxed()
            .shared()
    }
}

impl State {
    fn lease(&mut self) -> Option<Lease> {
        self.connections
            .retain(|connection| !connection.sender.is_closed());
        let idlest = self
            .connections
            .iter()
            .min_by_key(|connection| connection.streams.load(Ordering::Relaxed))?;
        if idlest.streams.load(Ordering::Relaxed) >= STREAMS_PER_CONNECTION {
            return None;
        }
        idlest.streams.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            sender: idlest.sender.clone(),
            streams: Arc::clone(&idlest.streams),
        })
    }
}

type Opened = (SendRequest<AttemptBody>, BoxFuture<'static, ()>);

async fn open(identity: Option<Arc<Identity>>, key: &Key) -> Result<Opened, String> {
    let tcp = TcpStream::connect(key.address)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let _ = tcp.set_nodelay(true);
    match (&key.identity, identity) {
        (None, _) => http2(tcp, key).await,
        (Some(expected), Some(identity)) => {
            http2(handshake(&identity, expected, key.address, tcp).await?, key).await
        }
        (Some(_), None) => Err("this process has no identity to connect with".to_owned()),
    }
}

async fn http2<T>(io: T, key: &Key) -> Result<Opened, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = builder()
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| format!("HTTP/2 handshake failed: {}", chain(&error)))?;
    let address = key.address;
    let driver = async move {
        if let Err(error) = connection.await {
            debug!(%address, error = chain(&error), "upstream connection broke");
        }
    };
    Ok((sender, driver.boxed()))
}

async fn handshake(
    identity: &Arc<Identity>,
    expected: &str,
    address: SocketAddr,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let id = SpiffeId::parse(expected).map_err(|error| chain(&error))?;
    let config = client_config(identity, Expected::Id(id)).map_err(|error| error.to_string())?;
    let name = server_name(address.ip());
    let tls = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| Refusal::from_io(&error, expected).to_string())?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Refusal::Alpn.to_string());
    }
    Ok(tls)
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}

/// An error with everything below it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
