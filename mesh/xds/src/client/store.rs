//! What the client holds: accepted resources, and the snapshot they make. Pure, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Any;
use weft_model::dataplane::{LoadBalancing, Snapshot, Target};

use crate::{
    decode::{self, Cluster, Endpoints, Listener, Routes},
    proto::envoy::service::discovery::v3::DiscoveryResponse,
    resources::ResourceType,
};

mod table;

use table::{Table, fill, raw};

const MAX_DETAIL_CHARS: usize = 4096;

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
                .filter_map(|held| held.value.endpoints.clone())
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
        let mut backends = Vec::new();
        for held in self.listeners.values() {
            match &held.value {
                Listener::Outbound { authority, routes } => {
                    let target = self
                        .target(authority, routes)
                        .or_else(|| self.whole.get(authority).cloned());
                    if let Some(target) = target {
                        snapshot.targets.insert(authority.clone(), target);
                    }
                    backends.extend(self.routes.get(routes).map(|held| &held.value));
                }
                Listener::Inbound(rules) if Some(&rules.service) == self.service.as_ref() => {
                    snapshot.inbound = Some(rules.clone());
                }
                Listener::Inbound(_) => {}
            }
        }
        for routes in backends {
            for name in routes.backends() {
                if snapshot.targets.contains_key(name) {
                    continue;
                }
                // Another control plane's routes lead to clusters that nobody can dial by name.
                let target = self
                    .backend(name, routes)
                    .or_else(|| self.whole.get(name).cloned());
                snapshot
                    .targets
                    .extend(target.map(|target| (name.to_owned(), target)));
            }
        }
        self.whole = snapshot.targets.clone();
        snapshot
    }

    fn target(&self, authority: &str, routes: &str) -> Option<Target> {
        let routes = &self.routes.get(routes)?.value;
        Some(Target {
            methods: routes.methods.clone(),
            routes: routes.rules.clone(),
            ..self.cluster(authority, &routes.cluster, routes)?
        })
    }

    /// A cluster that is only the backend of a route.
    fn backend(&self, name: &str, routes: &Routes) -> Option<Target> {
        self.cluster(name, name, routes)
    }

    /// A target as far as its cluster makes it.
    fn cluster(&self, authority: &str, cluster: &str, routes: &Routes) -> Option<Target> {
        let cluster = self.clusters.get(cluster)?.value.clone();
        let endpoints = match &cluster.endpoints {
            Some(name) => self.endpoints.get(name)?.value.endpoints.clone(),
            None => Vec::new(),
        };
        let mut load_balancing = cluster.load_balancing;
        if let LoadBalancing::RingHash { header, .. } = &mut load_balancing {
            *header = routes.hash_header.clone().unwrap_or_default();
        }
        Some(Target {
            authority: authority.to_owned(),
            service: routes.service.clone(),
            tls: cluster.tls,
            identity: cluster.identity,
            retry_throttling: cluster.retry_throttling,
            outlier_detection: cluster.outlier_detection,
            circuit_breakers: cluster.circuit_breakers,
            load_balancing,
            health_check: cluster.health_check,
            panic_threshold_percent: cluster.panic_threshold_percent,
            subsets: cluster.subsets,
            discovery: cluster.discovery,
            endpoints,
            ..Target::default()
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

fn listener_name(listener: &Listener) -> String {
    match listener {
        Listener::Outbound { authority, .. } => authority.clone(),
        Listener::Inbound(rules) => crate::encode::inbound_name(&rules.service),
    }
}

#[cfg(test)]
mod tests;
