//! The facade an executor drives: admit a call, pick an endpoint, report the outcome, do what is next.

use std::sync::Arc;

use foldhash::HashMap;
use weft_model::dataplane::{Discovery, DnsName, Endpoint, Locality, Snapshot};

use crate::{
    cluster::Cluster,
    record::DecisionId,
    slab::{Id, Slab},
};

mod accounts;
mod admit;
mod attempts;
mod outcome;
mod probes;
mod status;

pub use status::{ClusterStatus, EndpointStatus};

/// The accounts of every target, and the decisions about calls to them.
#[derive(Debug, Default)]
pub struct Engine {
    names: HashMap<Arc<str>, Id>,
    clusters: Slab<Cluster>,
    locality: Arc<Locality>,
    ids: DecisionId,
    is_configured: bool,
}

/// What an engine is told once about its process.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where this process runs: near endpoints are used first.
    pub locality: Locality,
    /// A random number by which decision ids of processes differ.
    pub process: u32,
}

impl Engine {
    /// An engine that knows where it runs. [`Engine::default`] does not.
    pub fn new(options: Options) -> Self {
        Self {
            locality: Arc::new(options.locality),
            ids: DecisionId::first(options.process),
            ..Self::default()
        }
    }

    /// Takes a new snapshot. What stays keeps its accounts; calls under way go on with what they have.
    /// Endpoints of names that proxies resolve stay until [`Self::resolved`] gives others.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.is_configured = true;
        let clusters = &mut self.clusters;
        self.names.retain(|authority, id| {
            let stays = snapshot.targets.contains_key(&**authority);
            if !stays {
                clusters.remove(*id);
            }
            stays
        });
        for (authority, target) in &snapshot.targets {
            let known = self.names.get(authority.as_str());
            if let Some(cluster) = known.and_then(|id| clusters.get_mut(*id)) {
                let is_same_name = matches!(target.discovery, Discovery::Dns(_))
                    && target.discovery == cluster.target.discovery;
                if is_same_name && target.endpoints.is_empty() {
                    let mut target = target.clone();
                    target.endpoints.clone_from(&cluster.target.endpoints);
                    cluster.update(&target);
                } else {
                    cluster.update(target);
                }
            } else {
                let name: Arc<str> = authority.as_str().into();
                let cluster = Cluster::new(Arc::clone(&name), target, Arc::clone(&self.locality));
                self.names.insert(name, clusters.insert(cluster));
            }
        }
    }

    /// The names that the executor resolves, by the authority of the target that has them.
    pub fn dns_names(&self) -> impl Iterator<Item = (&str, &DnsName)> {
        let clusters = self.clusters.iter();
        clusters.filter_map(|(_, cluster)| match &cluster.target.discovery {
            Discovery::Dns(name) => Some((&*cluster.authority, name)),
            Discovery::Endpoints => None,
        })
    }

    /// What the name of a target with [`Discovery::Dns`] resolves to now.
    pub fn resolved(&mut self, authority: &str, endpoints: &[Endpoint]) {
        let id = self.names.get(authority);
        if let Some(cluster) = id.and_then(|id| self.clusters.get_mut(*id)) {
            cluster.set_endpoints(endpoints);
        }
    }

    /// Whether a snapshot has come.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Whether `authority` has an endpoint, healthy or not.
    pub fn has_endpoints(&self, authority: &str) -> bool {
        let id = self.names.get(authority);
        let cluster = id.and_then(|id| self.clusters.get(*id));
        cluster.is_some_and(|cluster| !cluster.target.endpoints.is_empty())
    }
}
