//! Puts the mesh file and the registry together into what each data plane sees.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use weft_model::{
    EndpointSource, Mesh,
    dataplane::{Endpoint, Inbound},
    placed,
};
use weft_xds::resources::{NodeResources, SharedResources};

use crate::{
    metrics::Metrics,
    registry::{Asked, Refused, Registry, Workload},
};

/// Changes that come together go out together.
const DEBOUNCE: Duration = Duration::from_millis(20);
const SWEEP: Duration = Duration::from_millis(500);
/// A sweep this late means that the process stood still.
const STALLED: Duration = Duration::from_secs(2);
const FILE: &str = "registry.json";

/// The registry with everything that must happen when it changes.
#[derive(Debug)]
pub(crate) struct Workloads {
    registry: Mutex<Registry>,
    changed: Notify,
}

impl Workloads {
    /// What was running when the last control plane ended.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let stored = match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let stored = stored.unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                file = %path.display(),
                "registry file unusable, starting empty: sidecars register again within seconds"
            );
            Vec::new()
        });
        Self {
            registry: Mutex::new(Registry::restore(stored, Instant::now())),
            changed: Notify::new(),
        }
    }

    pub(crate) fn register(&self, workload: Workload, asked: Asked) -> Result<(), Refused> {
        let news = workload.clone();
        let registered = self
            .registry
            .lock()
            .register(workload, asked, Instant::now())?;
        if registered {
            tracing::info!(instance = news.instance, address = %news.address, "workload registered");
            self.changed.notify_one();
        }
        Ok(())
    }

    pub(crate) fn deregister(&self, service: &str, instance: &str, asked: Asked) {
        let mut registry = self.registry.lock();
        let known = registry.deregister(service, instance, asked, Instant::now());
        drop(registry);
        if known {
            tracing::info!(instance, "workload deregistered");
            self.changed.notify_one();
        }
    }

    pub(crate) fn list(&self) -> Vec<Workload> {
        self.registry.lock().workloads()
    }

    /// Ends leases until `shutdown`.
    pub(crate) async fn sweep(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            let since = now - last;
            last = now;
            let mut registry = self.registry.lock();
            if since > STALLED {
                tracing::warn!(?since, "this process stood still, leases are prolonged");
                registry.prolong_all(since);
            }
            let ended = registry.expire(now);
            drop(registry);
            for workload in &ended {
                tracing::warn!(instance = workload.instance, address = %workload.address, "lease ended");
            }
            if !ended.is_empty() {
                self.changed.notify_one();
            }
        }
    }
}

/// What the nodes of each service account see, by SPIFFE ID.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<HashMap<String, watch::Sender<Arc<NodeResources>>>>);

impl Views {
    pub(crate) fn subscribe(&self, identity: &str) -> Option<watch::Receiver<Arc<NodeResources>>> {
        self.0.lock().get(identity).map(watch::Sender::subscribe)
    }
}

/// Recomputes the views.
#[derive(Debug)]
pub(crate) struct Planner {
    mesh: watch::Receiver<Arc<Mesh>>,
    workloads: Arc<Workloads>,
    views: Arc<Views>,
    metrics: Metrics,
    file: PathBuf,
    written: Vec<Workload>,
    planned: Option<Planned>,
}

/// What only a new mesh file changes.
#[derive(Debug)]
struct Planned {
    mesh: Arc<Mesh>,
    targets: SharedResources,
    /// The endpoints that the mesh file lists, by authority.
    listed: BTreeMap<String, Vec<Endpoint>>,
    /// What each identity sees, endpoints left out.
    nodes: BTreeMap<String, NodeResources>,
}

impl Planner {
    /// Computes the views once.
    pub(crate) fn new(
        mesh: watch::Receiver<Arc<Mesh>>,
        workloads: Arc<Workloads>,
        views: Arc<Views>,
        metrics: Metrics,
        state_dir: &Path,
    ) -> Self {
        let written = workloads.list();
        let mut planner = Self {
            mesh,
            workloads,
            views,
            metrics,
            file: state_dir.join(FILE),
            written,
            planned: None,
        };
        planner.plan();
        planner
    }

    /// Follows every change until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.workloads.changed.notified() => {}
                changed = self.mesh.changed() => {
                    if changed.is_err() {
                        // The file is no longer watched: the process is ending.
                        return;
                    }
                }
            }
            tokio::time::sleep(DEBOUNCE).await;
            self.plan();
            self.write().await;
        }
    }

    fn plan(&mut self) {
        let started = SystemTime::now();
        let mesh = self.mesh.borrow_and_update().clone();
        let planned = match self.planned.take() {
            Some(planned) if Arc::ptr_eq(&planned.mesh, &mesh) => planned,
            _ => Planned::new(mesh),
        };
        let by_service = self.workloads.registry.lock().endpoints();
        let count: usize = by_service.values().map(Vec::len).sum();
        self.metrics
            .endpoints
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        let mut by_authority = planned.listed.clone();
        for (service, endpoints) in by_service {
            let known = planned.mesh.services.get(&service);
            // Where the mesh file says where a service is, nobody else does.
            let Some(service) = known.filter(|known| known.endpoints == EndpointSource::Registry)
            else {
                continue;
            };
            let placed = endpoints.iter().map(|endpoint| placed(service, endpoint));
            by_authority.insert(service.authority(), placed.collect());
        }
        let endpoints = planned.targets.endpoints(&by_authority);
        let mut views = self.views.0.lock();
        // A node of an account that is no more loses its stream and is told why when it comes again.
        views.retain(|identity, _| planned.nodes.contains_key(identity));
        for (identity, node) in &planned.nodes {
            let resources = node.with_endpoints(&endpoints);
            let sender = views.entry(identity.clone()).or_default();
            sender.send_if_modified(|current| {
                let differs = **current != resources;
                if differs {
                    *current = Arc::new(resources);
                }
                differs
            });
        }
        drop(views);
        self.planned = Some(planned);
        let took = started.elapsed().unwrap_or_default();
        tracing::debug!(endpoints = count, ?took, "views computed");
    }

    async fn write(&mut self) {
        let workloads = self.workloads.list();
        if workloads == self.written {
            return;
        }
        let Ok(json) = serde_json::to_vec_pretty(&workloads) else {
            return;
        };
        let file = self.file.clone();
        let writing =
            tokio::task::spawn_blocking(move || weft_identity::write_private(&file, &json));
        match writing.await {
            Ok(Ok(())) => self.written = workloads,
            Ok(Err(error)) => {
                tracing::warn!(%error, file = %self.file.display(), "registry not written");
            }
            Err(_) => {}
        }
    }
}

impl Planned {
    fn new(mesh: Arc<Mesh>) -> Self {
        let targets = weft_model::dataplane(&mesh, contracts::pool());
        let mut rules: BTreeMap<String, Vec<Inbound>> = BTreeMap::new();
        let services = mesh.services.values();
        for service in services.filter(|service| !service.is_outside()) {
            let identity = mesh.identity(&service.service_account);
            let own = weft_model::inbound(&mesh, &service.name);
            rules.entry(identity).or_default().extend(own);
        }
        let edge = mesh.identity(&mesh.edge.service_account);
        rules.entry(edge).or_default();
        let listed = targets
            .iter()
            .filter(|(_, target)| !target.endpoints.is_empty())
            .map(|(authority, target)| (authority.clone(), target.endpoints.clone()))
            .collect();
        let targets = SharedResources::new(targets.values());
        let nodes = rules
            .into_iter()
            .map(|(identity, rules)| (identity, targets.for_node(&rules)))
            .collect();
        Self {
            targets,
            listed,
            nodes,
            mesh,
        }
    }
}
