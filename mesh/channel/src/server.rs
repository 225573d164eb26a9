//! The inbound side of a process without a sidecar: mutual TLS, caller rules, rate limits, load
//! shedding and deadlines before its own handlers.
//!
//! With tonic's server it is a layer and a stream of connections:
//!
//! ```no_run
//! # async fn example(mesh: weft_channel::Mesh, listener: tokio::net::TcpListener)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! # let (_, orders) = tonic_health::server::health_reporter();
//! let server = mesh.server()?;
//! tonic::transport::Server::builder()
//!     .layer(server.layer())
//!     .add_service(orders)
//!     .serve_with_incoming(server.incoming(listener))
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! A server with an accept loop of its own hands each connection to [`Server::connection`].

mod call;
mod connection;
mod incoming;
mod layer;
mod metrics;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use weft_identity::{Identity, server_config};
use weft_model::dataplane::Snapshot;
use weft_policy::{Admission, InboundEngine, InboundFacts, Options, Refusal};
use weft_runtime::metrics::Metrics;

use crate::{Channel, access::AccessLog};
pub use incoming::{Accepted, Incoming};
pub use layer::{Guarded, GuardedFuture, ServerLayer};
use metrics::ServerMetrics;

/// Who has proven to be at the other end of a connection: an extension of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// What stands before the handlers of one process. Cloning gives the same one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Arc<Identity>,
    tls: TlsAcceptor,
    rules: Mutex<Rules>,
    metrics: ServerMetrics,
    access_log: AccessLog,
    /// Calls made for calls that are served: both share the marks of retries.
    channel: Channel,
}

/// The engine, and where its rules come from.
struct Rules {
    engine: InboundEngine,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What the engine has taken.
    taken: Option<Arc<Snapshot>>,
}

impl Server {
    /// A server that proves itself as `identity` and follows the inbound rules of `snapshots`. `channel`
    /// is what its handlers call others with. Registers its metrics, so one server per `metrics`.
    ///
    /// # Errors
    /// If the trust bundle cannot be used.
    pub fn new(
        channel: Channel,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        identity: Arc<Identity>,
        metrics: &Metrics,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            shared: Arc::new(Shared {
                tls: TlsAcceptor::from(server_config(&identity)?),
                identity,
                rules: Mutex::new(Rules {
                    engine: InboundEngine::new(&Options {
                        process: rand::random(),
                        ..Options::default()
                    }),
                    snapshots,
                    taken: None,
                }),
                metrics: ServerMetrics::register(metrics, channel.metrics()),
                access_log: AccessLog::default(),
                channel,
            }),
        })
    }

    /// What asks the rules about every request. Connections must come from [`Self::incoming`] or
    /// [`Self::connection`]: without a proven caller every request is refused.
    pub fn layer(&self) -> ServerLayer {
        ServerLayer::new(self.clone())
    }
}

impl Shared {
    /// Asks the engine, after it has taken the latest rules: a change holds for the next request of
    /// every open connection.
    fn admit(&self, facts: InboundFacts<'_>) -> Result<Admission, Box<Refusal>> {
        let now = tokio::time::Instant::now().into_std();
        let mut rules = self.rules.lock();
        rules.follow();
        rules.engine.admit(facts, now, &mut rand::rng())
    }

    fn engine<T>(&self, tell: impl FnOnce(&mut InboundEngine) -> T) -> T {
        tell(&mut self.rules.lock().engine)
    }
}

impl Rules {
    fn follow(&mut self) {
        let latest = self.snapshots.borrow().clone();
        if latest.as_ref().map(Arc::as_ptr) != self.taken.as_ref().map(Arc::as_ptr) {
            let inbound = latest.as_ref().and_then(|latest| latest.inbound.as_ref());
            self.engine.update(inbound);
            self.taken = latest;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
