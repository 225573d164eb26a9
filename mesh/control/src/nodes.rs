//! The data planes that have a configuration stream, and what became of what they were sent.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Extensions, Status};
use weft_xds::{
    resources::{NodeResources, ResourceType},
    server::{Event, Nodes, StreamId},
};

use crate::{metrics::Metrics, peer::Peer, planner::Views};

/// One data plane.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) user_agent: String,
    pub(crate) since: SystemTime,
    pub(crate) types: BTreeMap<ResourceType, TypeStatus>,
}

/// What became of the resources of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypeStatus {
    pub(crate) sent: String,
    pub(crate) acked: Option<String>,
    /// The version that was refused and why, until a later one is taken.
    pub(crate) refused: Option<Refused>,
}

/// A NACK.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) version: String,
    pub(crate) detail: String,
    pub(crate) at: SystemTime,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct ConnectedNodes {
    views: Arc<Views>,
    metrics: Metrics,
    nodes: Mutex<BTreeMap<StreamId, Node>>,
}

impl ConnectedNodes {
    pub(crate) fn new(views: Arc<Views>, metrics: Metrics) -> Self {
        Self {
            views,
            metrics,
            nodes: Mutex::default(),
        }
    }

    /// A copy, ordered by name.
    pub(crate) fn list(&self) -> Vec<Node> {
        let mut nodes: Vec<_> = self.nodes.lock().values().cloned().collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn record(&self, stream: StreamId, kind: ResourceType, change: impl FnOnce(&mut TypeStatus)) {
        if let Some(node) = self.nodes.lock().get_mut(&stream) {
            change(node.types.entry(kind).or_default());
        }
    }
}

impl Nodes for ConnectedNodes {
    fn authenticate(&self, extensions: &Extensions) -> Result<String, Status> {
        Peer::authenticated(extensions).map(ToString::to_string)
    }

    fn resources(&self, identity: &str) -> Result<watch::Receiver<Arc<NodeResources>>, Status> {
        self.views.subscribe(identity).ok_or_else(|| {
            tracing::warn!(
                identity,
                "a node that the mesh file does not know is refused"
            );
            Status::permission_denied(format!(
                "the mesh file has no workload with identity {identity}"
            ))
        })
    }

    fn observe(&self, stream: StreamId, event: Event) {
        match event {
            Event::Connected {
                identity,
                node,
                user_agent,
            } => {
                tracing::info!(identity, node, "data plane connected");
                let node = Node {
                    name: node,
                    identity,
                    user_agent,
                    since: SystemTime::now(),
                    types: BTreeMap::new(),
                };
                self.nodes.lock().insert(stream, node);
                self.metrics.nodes.inc();
            }
            Event::Sent { kind, version } => {
                self.record(stream, kind, |status| status.sent = version);
            }
            Event::Acked { kind, version } => self.record(stream, kind, |status| {
                status.acked = Some(version);
                status.refused = None;
            }),
            Event::Nacked {
                kind,
                version,
                detail,
            } => {
                self.metrics.nack(kind);
                let at = SystemTime::now();
                let refused = Refused {
                    version,
                    detail,
                    at,
                };
                self.record(stream, kind, |status| status.refused = Some(refused));
            }
            Event::Disconnected => {
                if let Some(node) = self.nodes.lock().remove(&stream) {
                    tracing::info!(
                        identity = node.identity,
                        node = node.name,
                        "data plane gone"
                    );
                    self.metrics.nodes.dec();
                }
            }
        }
    }
}

/// How many different nodes are connected; one may have an old stream that is not yet known to be dead.
pub(crate) fn distinct(nodes: &[Node]) -> usize {
    nodes
        .iter()
        .map(|node| &node.name)
        .collect::<HashSet<_>>()
        .len()
}
