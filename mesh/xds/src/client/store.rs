//! What the client holds: accepted resources, and the snapshot they make. Pure, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Any;
use weft_model::dataplane::{Snapshot, Target};

use crate::{
    decode::{self, Cluster, Endpoints, Invalid, Listener, Routes},
    proto::envoy::service::discovery::v3::DiscoveryResponse,
    resources::ResourceType,
};

const MAX_DETAIL_CHARS: usize = 4096;
/// Envoy's, where the control plane says nothing.
const DEFAULT_PANIC_THRESHOLD: u32 = 50;

/// One accepted resource, decoded and as it came.
#[derive(Clone, Debug)]
struct Held<T> {
    value: T,
    any: Any,
}

type Table<T> = BTreeMap<String, Held<T>>;

#[derive(Debug, Default)]
struct Progress {
    version: String,
    nonce: String,
    answered: bool,
    /// Names whose first resource was refused: waiting for them is in vain.
    refused: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Store {
    service: Option<String>,
    clusters: Table<Cluster>,
    endpoints: Table<Endpoints>,
    listeners: Table<Listener>,
    routes: Table<Routes>,
    progress: [Progress; 4],
    /// The last whole state of each target, kept while a part of its next state is missing.
    whole: BTreeMap<String, Target>,
}

impl Store {
    pub(super) fn new(service: Option<String>) -> Self {
        Self {
            service,
            clusters: Table::new(),
            endpoints: Table::new(),
            listeners: Table::new(),
            routes: Table::new(),
            progress: Default::default(),
            whole: BTreeMap::new(),
        }
    }

    /// The last accepted version.
    pub(super) fn version(&self, kind: ResourceType) -> &str {
        &self.progress[kind as usize].version
    }

    /// The nonce of the last response on this stream.
    pub(super) fn nonce(&self, kind: ResourceType) -> &str {
        &self.progress[kind as usize].nonce
    }

    /// Nonces belong to a stream.
    pub(super) fn forget_nonces(&mut self) {
        for progress in &mut self.progress {
            progress.nonce.clear();
        }
    }

    /// What to ask for; empty for the types of which everything is wanted.
    pub(super) fn names(&self, kind: ResourceType) -> BTreeSet<String> {
        match kind {
            ResourceType::Cluster | ResourceType::Listener => BTreeSet::new(),
            ResourceType::Endpoints => self
                .clusters
                .values()
                .map(|held| held.value.endpoints.clone())
                .collect(),
            ResourceType::Routes => self
                .listeners
                .values()
                .filter_map(|held| match &held.value {
                    Listener::Outbound { routes, .. } => Some(routes.clone()),
                    Listener::Inbound(_) => None,
                })
                .collect(),
        }
    }

    /// Takes the good resources of a response.
    ///
    /// # Errors
    /// What was refused and why, for the NACK. What it would have replaced stays (gRFC A46).
    pub(super) fn accept(
        &mut self,
        kind: ResourceType,
        response: DiscoveryResponse,
    ) -> Result<(), String> {
        let progress = &mut self.progress[kind as usize];
        progress.nonce = response.nonce;
        progress.answered = true;
        let full = kind.is_full_state();
        let refused = &mut progress.refused;
        let problems = match kind {
            ResourceType::Cluster => fill(
                &mut self.clusters,
                refused,
                response.resources,
                full,
                |any| decode::cluster(any).map(|value| (value.name.clone(), value)),
            ),
            ResourceType::Endpoints => fill(
                &mut self.endpoints,
                refused,
                response.resources,
                full,
                |any| decode::endpoints(any).map(|value| (value.name.clone(), value)),
            ),
            ResourceType::Listener => fill(
                &mut self.listeners,
                refused,
                response.resources,
                full,
                |any| decode::listener(any).map(|value| (listener_name(&value), value)),
            ),
            ResourceType::Routes => {
                fill(&mut self.routes, refused, response.resources, full, |any| {
                    decode::routes(any).map(|value| (value.name.clone(), value))
                })
            }
        };
        self.drop_unreferred();
        if problems.is_empty() {
            self.progress[kind as usize].version = response.version_info;
            return Ok(());
        }
        let detail = problems.join("; ");
        Err(detail.chars().take(MAX_DETAIL_CHARS).collect())
    }

    fn drop_unreferred(&mut self) {
        let routes = self.names(ResourceType::Routes);
        self.routes.retain(|name, _| routes.contains(name));
        let progress = &mut self.progress;
        progress[ResourceType::Routes as usize]
            .refused
            .retain(|name| routes.contains(name));
        let endpoints = self.names(ResourceType::Endpoints);
        self.endpoints.retain(|name, _| endpoints.contains(name));
        let progress = &mut self.progress;
        progress[ResourceType::Endpoints as usize]
            .refused
            .retain(|name| endpoints.contains(name));
    }

    /// Whether everything that was asked for has been answered, so that a first snapshot is whole.
    pub(super) fn is_settled(&self) -> bool {
        let progress = |kind: ResourceType| &self.progress[kind as usize];
        let answered = |kind| progress(kind).answered;
        let known = |kind, held: &dyn Fn(&str) -> bool| {
            self.names(kind)
                .iter()
                .all(|name| held(name) || progress(kind).refused.contains(name))
        };
        answered(ResourceType::Cluster)
            && answered(ResourceType::Listener)
            && known(ResourceType::Routes, &|name| self.routes.contains_key(name))
            && known(ResourceType::Endpoints, &|name| {
                self.endpoints.contains_key(name)
            })
    }

    /// The whole configuration as of now. A target of which a part is missing stays as it was, or out
    /// if it never was whole.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for held in self.listeners.values() {
            match &held.value {
                Listener::Outbound { authority, routes } => {
                    let target = self
                        .target(authority, routes)
                        .or_else(|| self.whole.get(authority).cloned());
                    if let Some(target) = target {
                        snapshot.targets.insert(authority.clone(), target);
                    }
                }
                Listener::Inbound(rules) if Some(&rules.service) == self.service.as_ref() => {
                    snapshot.inbound = Some(rules.clone());
                }
                Listener::Inbound(_) => {}
            }
        }
        self.whole = snapshot.targets.clone();
        snapshot
    }

    fn target(&self, authority: &str, routes: &str) -> Option<Target> {
        let routes = &self.routes.get(routes)?.value;
        let cluster = &self.clusters.get(&routes.cluster)?.value;
        let endpoints = &self.endpoints.get(&cluster.endpoints)?.value;
        let settings = match &cluster.target {
            Some(target) => Target::clone(target),
            None => Target {
                retry_throttling: cluster.retry_throttling.clone(),
                outlier_detection: cluster.outlier_detection.clone(),
                panic_threshold_percent: DEFAULT_PANIC_THRESHOLD,
                ..Target::default()
            },
        };
        Some(Target {
            authority: authority.to_owned(),
            service: routes.service.clone(),
            identity: cluster.identity.clone(),
            methods: routes.methods.clone(),
            routes: routes.routes.clone(),
            endpoints: endpoints.endpoints.clone(),
            ..settings
        })
    }

    /// Everything held, as responses that [`Store::accept`] would take in this order.
    pub(super) fn responses(&self) -> Vec<DiscoveryResponse> {
        let response = |kind: ResourceType, resources: Vec<Any>| DiscoveryResponse {
            version_info: self.version(kind).to_owned(),
            type_url: kind.url().to_owned(),
            resources,
            ..Default::default()
        };
        vec![
            response(ResourceType::Cluster, raw(&self.clusters)),
            response(ResourceType::Endpoints, raw(&self.endpoints)),
            response(ResourceType::Listener, raw(&self.listeners)),
            response(ResourceType::Routes, raw(&self.routes)),
        ]
    }
}

fn raw<T>(table: &Table<T>) -> Vec<Any> {
    table.values().map(|held| held.any.clone()).collect()
}

fn listener_name(listener: &Listener) -> String {
    match listener {
        Listener::Outbound { authority, .. } => authority.clone(),
        Listener::Inbound(rules) => crate::encode::inbound_name(&rules.service),
    }
}

/// Puts the good resources into `table` and returns what is wrong with the others.
fn fill<T>(
    table: &mut Table<T>,
    refused: &mut BTreeSet<String>,
    resources: Vec<Any>,
    full: bool,
    read: impl Fn(&Any) -> Result<(String, T), Invalid>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut named = BTreeSet::new();
    let mut nameless = false;
    for any in resources {
        match read(&any) {
            Ok((name, value)) => {
                refused.remove(&name);
                named.insert(name.clone());
                table.insert(name, Held { value, any });
            }
            Err(invalid) => {
                let name = decode::name(&any);
                let shown = name
                    .as_deref()
                    .unwrap_or("resource without a readable name");
                problems.push(format!("{shown}: {invalid}"));
                match name {
                    Some(name) => {
                        if !table.contains_key(&name) {
                            refused.insert(name.clone());
                        }
                        named.insert(name);
                    }
                    // It may be any of those that seem to be gone.
                    None => nameless = true,
                }
            }
        }
    }
    if full && !nameless {
        table.retain(|name, _| named.contains(name));
    }
    problems
}
