//! Connections shared by all calls to one endpoint.

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
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use weft_identity::Identity;
use weft_policy::Failure;

use crate::{connect::open, replay::AttemptBody};

/// How long TCP, TLS and HTTP/2 together may take. Inside a cluster they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One connection takes this many streams before another is made (our sidecars allow 256).
pub(crate) const STREAMS_PER_CONNECTION: u32 = 200;
const CONNECTIONS_PER_ENDPOINT: usize = 8;

/// Why there is no connection to an endpoint.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Failed(Arc<str>),
    #[error("all {CONNECTIONS_PER_ENDPOINT} connections to the endpoint are full")]
    Full,
    #[error(transparent)]
    Broken(Failure),
}

/// What is taken from a circuit breaker, given back when it is dropped.
pub(crate) type Place = Box<dyn Send + Sync>;

/// Says whether there may be one more connection, or one more call that waits for it.
pub(crate) trait Breaker: Send + Sync {
    fn connection(&self) -> Result<Place, Failure>;
    fn pending(&self) -> Result<Place, Failure>;
}

/// No limit besides the pool's own.
pub(crate) struct Unlimited;

impl Breaker for Unlimited {
    fn connection(&self) -> Result<Place, Failure> {
        Ok(Box::new(()))
    }

    fn pending(&self) -> Result<Place, Failure> {
        Ok(Box::new(()))
    }
}

/// Where to, and who must answer: an address that another service took over is another key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The peer's address.
    pub(crate) address: SocketAddr,
    /// The SPIFFE ID the peer must prove. `None`: cleartext HTTP/2, for a workload on this machine and
    /// for targets whose TLS is switched off.
    pub(crate) identity: Option<String>,
}

/// Connections to endpoints, made when a stream needs one.
pub(crate) struct Pool {
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
    connecting: Option<Connecting>,
}

type Connecting = Shared<BoxFuture<'static, Result<(), ConnectError>>>;

#[derive(Clone)]
struct Connection {
    sender: SendRequest<AttemptBody>,
    streams: Arc<AtomicU32>,
}

/// The right to one stream on a connection; counted until it is dropped.
pub(crate) struct Lease {
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
    pub(crate) fn new(identity: Option<Arc<Identity>>, tasks: TaskTracker) -> Self {
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
    pub(crate) async fn lease(
        &self,
        key: &Key,
        breaker: &dyn Breaker,
    ) -> Result<Lease, ConnectError> {
        let slot = self.slot(key);
        let mut waiting = None;
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
                if waiting.is_none() {
                    waiting = Some(breaker.pending().map_err(ConnectError::Broken)?);
                }
                match &state.connecting {
                    Some(connecting) => connecting.clone(),
                    None => {
                        let place = breaker.connection().map_err(ConnectError::Broken)?;
                        let connecting = self.connect(&slot, place);
                        state.connecting.insert(connecting).clone()
                    }
                }
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
    /// with it. The connection keeps `place` until it is closed.
    fn connect(&self, slot: &Arc<Slot>, place: Place) -> Connecting {
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
                    tasks.spawn(async move {
                        connection.await;
                        drop(place);
                    });
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
