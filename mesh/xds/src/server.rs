//! Aggregated discovery, state of the world: one stream per node, changes in an order that removes
//! nothing before its replacement is known, every ACK and NACK told to the owner of the nodes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Extensions, Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::{
    proto::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        aggregated_discovery_service_server::{
            AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
        },
    },
    resources::{NodeResources, ResourceType},
};

mod state;
mod stream;

/// Requests hold names and a NACK's text, never resources.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Responses that wait for a slow node. Further changes wait with it.
const QUEUE: usize = 8;

/// Who the nodes are and what they may see.
pub trait Nodes: Send + Sync + 'static {
    /// The SPIFFE ID of the peer, out of what the transport has put into the request. What the node
    /// says about itself is never asked.
    ///
    /// # Errors
    /// A status for a peer that may not have a stream.
    fn authenticate(&self, extensions: &Extensions) -> Result<String, Status>;

    /// What the node of this identity sees, now and whenever it changes. Called once per stream; the
    /// stream ends with `UNAVAILABLE` when the sender is dropped.
    ///
    /// # Errors
    /// A status for a node that has nothing to see.
    fn resources(&self, identity: &str) -> Result<watch::Receiver<Arc<NodeResources>>, Status>;

    /// Takes note of what happens on a stream. Called often, must not block.
    fn observe(&self, stream: StreamId, event: Event);
}

/// Tells streams apart, within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node has opened it.
    Connected {
        /// The proven SPIFFE ID.
        identity: String,
        /// What the node calls itself.
        node: String,
        /// Its program and version, as it says.
        user_agent: String,
    },
    /// A version went out.
    Sent {
        /// Of which type.
        kind: ResourceType,
        /// Which version.
        version: String,
    },
    /// The node uses it.
    Acked {
        /// Of which type.
        kind: ResourceType,
        /// Which version.
        version: String,
    },
    /// The node keeps what it had.
    Nacked {
        /// Of which type.
        kind: ResourceType,
        /// Which version it refused.
        version: String,
        /// Why, in its words, cut to a few kilobytes.
        detail: String,
    },
    /// The stream is over.
    Disconnected,
}

/// The ADS service over an owner of nodes.
#[derive(Debug)]
pub struct AdsServer<N> {
    nodes: Arc<N>,
    draining: CancellationToken,
    tasks: TaskTracker,
    next: AtomicU64,
}

impl<N: Nodes> AdsServer<N> {
    /// Streams end with `UNAVAILABLE` once `draining` is cancelled. Their tasks are tracked by
    /// `tasks`, for which the caller waits.
    pub fn new(nodes: Arc<N>, draining: CancellationToken, tasks: TaskTracker) -> Self {
        Self {
            nodes,
            draining,
            tasks,
            next: AtomicU64::new(0),
        }
    }

    /// As a service for tonic's router.
    pub fn into_service(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<N: Nodes> AggregatedDiscoveryService for AdsServer<N> {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let identity = self.nodes.authenticate(request.extensions())?;
        let resources = self.nodes.resources(&identity)?;
        let (responses, queue) = mpsc::channel(QUEUE);
        let id = StreamId(self.next.fetch_add(1, Ordering::Relaxed));
        let span = tracing::info_span!("ads", %identity, stream = id.0);
        let stream = stream::AdsStream {
            id,
            identity,
            nodes: Arc::clone(&self.nodes),
            requests: request.into_inner(),
            resources,
            responses,
            draining: self.draining.clone(),
        };
        self.tasks.spawn(stream.run().instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "this control plane speaks state-of-the-world xDS only",
        ))
    }
}
