//! Resource types, and the resources of one node as a snapshot with content hashes as versions.

use std::{collections::BTreeMap, fmt, fmt::Write, sync::Arc};

use prost::Message;
use prost_types::Any;
use sha2::{Digest, Sha256};
use weft_model::dataplane::{Endpoint, Inbound, Target};

use crate::encode;

/// The four types a data plane subscribes to, in the order in which changes are sent so that nothing
/// is removed before its replacement is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Routes,
}

impl ResourceType {
    /// All of them, in sending order.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    /// The type URL that requests and responses carry.
    pub fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type of a URL, `None` for one that is not served here.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// Whether a response holds everything there is, so that what is missing is gone.
    pub fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Listener => "LDS",
            Self::Routes => "RDS",
        })
    }
}

/// One encoded resource and the hash of its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The resource as responses carry it.
    pub any: Any,
    hash: [u8; 32],
}

impl Resource {
    /// Hashes an encoded resource.
    pub fn new(any: Any) -> Self {
        let hash = Sha256::digest(&any.value).into();
        Self { any, hash }
    }

    /// Equal for equal content only.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// All resources of one type, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSet {
    version: String,
    resources: BTreeMap<String, Resource>,
}

impl ResourceSet {
    /// Hashes the set. The same content gives the same version in every process.
    pub fn new(resources: BTreeMap<String, Resource>) -> Self {
        let mut digest = Sha256::new();
        for (name, resource) in &resources {
            digest.update((name.len() as u64).to_be_bytes());
            digest.update(name);
            digest.update(resource.hash);
        }
        let version = digest.finalize()[..8]
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
        Self { version, resources }
    }

    /// A hash of the content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The resources by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Resource)> {
        self.resources.iter()
    }

    /// One resource.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }
}

/// Everything one node may see. Sets that several nodes share are shared in memory.
#[derive(Clone, Debug, Default)]
pub struct NodeResources {
    sets: [Arc<ResourceSet>; 4],
}

impl NodeResources {
    /// The set of one type.
    pub fn set(&self, kind: ResourceType) -> &Arc<ResourceSet> {
        &self.sets[kind as usize]
    }

    /// The same with other endpoints.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: &Arc<ResourceSet>) -> Self {
        let mut sets = self.sets.clone();
        sets[ResourceType::Endpoints as usize] = Arc::clone(endpoints);
        Self { sets }
    }
}

impl PartialEq for NodeResources {
    /// By version, which is a hash of the content.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.sets.iter().zip(&other.sets);
        pairs.into_iter().all(|(a, b)| a.version == b.version)
    }
}

/// The resources that all nodes share: encode the targets once, then add each node's own rules.
#[derive(Clone, Debug, Default)]
pub struct SharedResources {
    sets: [Arc<ResourceSet>; 4],
}

impl SharedResources {
    /// Encodes the targets once. Endpoints change most: see [`SharedResources::endpoints`].
    pub fn new<'a>(targets: impl IntoIterator<Item = &'a Target> + Clone) -> Self {
        let set = |encode: &dyn Fn(&Target) -> Any| {
            let resources = targets
                .clone()
                .into_iter()
                .map(|target| (target.authority.clone(), Resource::new(encode(target))))
                .collect();
            Arc::new(ResourceSet::new(resources))
        };
        let subsets = encode::Subsets::of(targets.clone());
        Self {
            sets: [
                set(&encode::cluster),
                set(&|target| encode::endpoints(&target.authority, &target.endpoints)),
                set(&encode::listener),
                set(&|target| encode::routes(target, &subsets)),
            ],
        }
    }

    /// The endpoints of the targets as a set of their own, for [`NodeResources::with_endpoints`]; a target
    /// that is not named has none.
    pub fn endpoints(&self, endpoints: &BTreeMap<String, Vec<Endpoint>>) -> Arc<ResourceSet> {
        let resources = self.sets[ResourceType::Cluster as usize]
            .iter()
            .map(|(authority, _)| {
                let found = endpoints.get(authority).map_or(&[][..], Vec::as_slice);
                let any = encode::endpoints(authority, found);
                (authority.clone(), Resource::new(any))
            })
            .collect();
        Arc::new(ResourceSet::new(resources))
    }

    /// What a node sees: everything shared, and the caller rules of the workloads it may stand before
    /// (none for the edge; more than one only where services share a service account).
    pub fn for_node<'a>(&self, inbound: impl IntoIterator<Item = &'a Inbound>) -> NodeResources {
        let mut sets = self.sets.clone();
        let own: Vec<_> = inbound
            .into_iter()
            .map(|rules| {
                let any = encode::inbound_listener(rules);
                (encode::inbound_name(&rules.service), Resource::new(any))
            })
            .collect();
        if !own.is_empty() {
            let listeners = &mut sets[ResourceType::Listener as usize];
            let mut resources = listeners.resources.clone();
            resources.extend(own);
            *listeners = Arc::new(ResourceSet::new(resources));
        }
        NodeResources { sets }
    }
}

/// Wraps a message with its type URL.
pub(crate) fn any<M: Message + prost::Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}
