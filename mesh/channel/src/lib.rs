//! Calls to services of the mesh, by name: the engine (`weft-policy`) around HTTP/2 connections.
//!
//! [`Channel::call`] takes a gRPC request for an authority such as `payments:7070` and always answers
//! with a gRPC response. In between it carries out what the engine decides: which rule and route apply,
//! the deadline, an endpoint per request, mutual TLS to whoever proves the target's SPIFFE ID, faults,
//! retries, hedges and copies; it leaves a span, metrics and one log line. Generated tonic clients take
//! [`Channel::service`].
//!
//! [`Mesh`] is all a service without a sidecar needs: it joins a control plane or reads a mesh file,
//! [`Mesh::connect`]s to others, and its [`server`] side lets others in.
//!
//! It leaves to others: where the configuration comes from (a `watch::Receiver` of snapshots, see
//! `weft-xds`), certificates (`weft-identity`), and all decisions (`weft-policy`). Start reading at
//! `call.rs`, then `race.rs`.

pub mod access;
mod admit;
mod attempt;
pub mod body;
mod call;
mod connect;
pub mod ejections;
mod ending;
pub mod headers;
mod in_flight;
pub mod load;
mod mesh;
pub mod messages;
mod metrics;
mod mirror;
mod pool;
mod probe;
mod race;
pub mod registration;
mod replay;
mod resolve;
mod response;
pub mod server;
mod service;
pub mod status;

/// Names that are resolved by the data plane, for executors besides this one.
pub mod names {
    pub use crate::resolve::keep;
}

use std::{
    collections::HashSet,
    sync::{Arc, Weak, atomic::AtomicUsize},
    time::Instant,
};

use http::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use weft_identity::{Identity, SpiffeId};
use weft_model::dataplane::{DnsName, Locality, Snapshot};
use weft_policy::{Engine, Options, retry::RetryMarks};
use weft_runtime::metrics::Metrics;

use crate::{
    access::AccessLog,
    metrics::{ChannelMetrics, EjectionCollector},
    pool::{Key, Pool},
};
pub use crate::{
    body::{Body, BodyError},
    mesh::{ControlOptions, FileOptions, Mesh, MeshError, connect},
    service::AuthorityChannel,
};

/// Calls services of the mesh. Cloning gives the same channel; connections close when the last clone
/// and the last response are dropped.
#[derive(Clone)]
pub struct Channel {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Mutex<Engine>,
    /// What this process has repeated, and what was a repetition.
    pub(crate) marks: Mutex<RetryMarks>,
    pub(crate) pool: Pool,
    pub(crate) metrics: ChannelMetrics,
    pub(crate) access_log: AccessLog,
    /// Told after the engine has taken a snapshot.
    pub(crate) updated: watch::Sender<()>,
    /// What all calls keep of their requests, in bytes.
    pub(crate) replay_quota: Arc<AtomicUsize>,
    /// Endpoints must prove who they are.
    pub(crate) is_mutual: bool,
    /// The service account that calls, for metrics.
    pub(crate) source: Arc<str>,
    /// Room for copies of requests.
    pub(crate) copies: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    _stop: DropGuard,
}

impl Channel {
    /// A channel that follows `snapshots` (`None` until the first has come) and proves itself as
    /// `identity`; without one it connects in cleartext and asks nobody who they are. Registers its
    /// metrics, so one channel per `metrics`. Must be called inside a tokio runtime.
    pub fn new(
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        identity: impl Into<Option<Arc<Identity>>>,
        metrics: &Metrics,
    ) -> Self {
        Self::near(Locality::default(), snapshots, identity, metrics)
    }

    /// As [`Self::new`], for a process that knows where it runs: near endpoints are called first.
    pub fn near(
        locality: Locality,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        identity: impl Into<Option<Arc<Identity>>>,
        metrics: &Metrics,
    ) -> Self {
        let identity = identity.into();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            engine: Mutex::new(Engine::new(Options {
                locality,
                process: rand::random(),
            })),
            marks: Mutex::default(),
            access_log: AccessLog::default(),
            is_mutual: identity.is_some(),
            source: account(identity.as_deref()),
            pool: Pool::new(identity, tasks.clone()),
            metrics: ChannelMetrics::register(metrics),
            updated: watch::Sender::new(()),
            replay_quota: Arc::default(),
            copies: Arc::new(Semaphore::new(mirror::MOST_COPIES)),
            tasks: tasks.clone(),
            _stop: stop.clone().drop_guard(),
        });
        metrics.register_collector(EjectionCollector(Arc::downgrade(&inner)));
        let first = snapshots.borrow_and_update().clone();
        if let Some(first) = first {
            inner.update(&first);
        }
        tasks.spawn(follow(snapshots, Arc::downgrade(&inner), stop.clone()));
        tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(probe::keep(Arc::downgrade(&inner))),
        );
        let (names, resolved) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        let resolving = resolve::keep(
            inner.updated.subscribe(),
            move || {
                names
                    .upgrade()
                    .map_or_else(Vec::new, |inner| inner.dns_names())
            },
            move |authority, endpoints| {
                if let Some(inner) = resolved.upgrade() {
                    inner.engine.lock().resolved(authority, &endpoints);
                    inner.endpoints_changed();
                }
            },
        );
        tasks.spawn(stop.run_until_cancelled_owned(resolving));
        Self { inner }
    }

    /// Calls the service at `authority`. Never fails: what goes wrong is a gRPC status, in the headers
    /// if no stream has begun, else in trailers. Dropping the future or the response body cancels the
    /// call upstream.
    ///
    /// The request is a gRPC one: its path is `/package.Service/Method`; its scheme and authority are
    /// replaced. Where no endpoint can take it, it is held back for up to [`weft_policy::PATIENCE`].
    pub async fn call(&self, authority: &str, request: Request<Body>) -> Response<Body> {
        call::call(Arc::clone(&self.inner), authority, request).await
    }

    /// The channel as a tower service for generated clients.
    pub fn service(&self, authority: impl Into<Arc<str>>) -> AuthorityChannel {
        AuthorityChannel::new(self.clone(), authority.into())
    }

    pub(crate) fn metrics(&self) -> &ChannelMetrics {
        &self.inner.metrics
    }

    /// Whether `authority` has an endpoint now, healthy or not.
    pub fn has_endpoints(&self, authority: &str) -> bool {
        self.inner.engine.lock().has_endpoints(authority)
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Inner {
    fn update(&self, snapshot: &Snapshot) {
        self.engine.lock().update(snapshot);
        self.metrics.methods.update(snapshot);
        self.endpoints_changed();
    }

    /// Whom an endpoint must prove to be. `None`: the connection is cleartext.
    pub(crate) fn expected(&self, identity: Option<&str>) -> Option<String> {
        identity.filter(|_| self.is_mutual).map(str::to_owned)
    }

    fn dns_names(&self) -> Vec<(String, DnsName)> {
        let engine = self.engine.lock();
        let names = engine.dns_names();
        let names = names.map(|(authority, name)| (authority.to_owned(), name.clone()));
        names.collect()
    }

    /// Forgets connections to endpoints that are gone, and wakes calls that wait for one.
    pub(crate) fn endpoints_changed(&self) {
        let clusters = self.engine.lock().clusters(Instant::now());
        let wanted: HashSet<Key> = clusters
            .iter()
            .flat_map(|cluster| {
                cluster.endpoints.iter().map(|endpoint| Key {
                    address: endpoint.address,
                    identity: self.expected(cluster.identity.as_deref()),
                })
            })
            .collect();
        self.pool.keep(&wanted);
        self.updated.send_replace(());
    }
}

fn account(identity: Option<&Identity>) -> Arc<str> {
    let id = identity.map(Identity::id);
    let account = id.as_ref().and_then(SpiffeId::service_account);
    account.unwrap_or("unknown").into()
}

async fn follow(
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    inner: Weak<Inner>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            // Whoever sent snapshots is gone: the last one stays in force.
            changed = snapshots.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let snapshot = snapshots.borrow_and_update().clone();
        let Some(inner) = inner.upgrade() else { return };
        if let Some(snapshot) = snapshot {
            inner.update(&snapshot);
        }
    }
}
