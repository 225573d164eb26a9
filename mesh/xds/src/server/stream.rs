//! One stream: requests in, changes in, responses out.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    Event, Nodes, StreamId,
    state::{Answer, TypeState},
};
use crate::{
    proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    resources::{NodeResources, ResourceType},
};

/// A node that takes nothing for so long has to connect again.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_NAMES: usize = 10_000;
const MAX_DETAIL_CHARS: usize = 4096;
const MAX_NODE_CHARS: usize = 256;

pub(super) struct AdsStream<N> {
    pub(super) id: StreamId,
    pub(super) identity: String,
    pub(super) nodes: Arc<N>,
    pub(super) requests: Streaming<DiscoveryRequest>,
    pub(super) resources: watch::Receiver<Arc<NodeResources>>,
    pub(super) responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    pub(super) draining: CancellationToken,
}

impl<N: Nodes> AdsStream<N> {
    pub(super) async fn run(mut self) {
        if let Err(status) = self.serve().await {
            tracing::debug!(code = ?status.code(), reason = status.message(), "ads stream ends");
            // Whether the node still listens is its own matter.
            let _ = tokio::time::timeout(SEND_TIMEOUT, self.responses.send(Err(status))).await;
        }
        self.nodes.observe(self.id, Event::Disconnected);
    }

    /// Ends with `Ok` when the node is gone.
    async fn serve(&mut self) -> Result<(), Status> {
        let mut states = ResourceType::ALL.map(TypeState::new);
        let mut introduced = false;
        let mut nonces = 0_u64;
        loop {
            tokio::select! {
                () = self.draining.cancelled() => {
                    return Err(Status::unavailable("the control plane is draining"));
                }
                request = self.requests.message() => {
                    let Ok(Some(request)) = request else {
                        return Ok(());
                    };
                    if !introduced {
                        introduced = true;
                        self.introduce(&request);
                    }
                    if self.take(&request, &mut states)? {
                        let world = self.resources.borrow().clone();
                        self.push(&world, &mut states, &mut nonces).await?;
                    }
                }
                changed = self.resources.changed() => {
                    changed.map_err(|_| Status::unavailable("the control plane is stopping"))?;
                    let world = self.resources.borrow_and_update().clone();
                    self.push(&world, &mut states, &mut nonces).await?;
                }
            }
        }
    }

    fn introduce(&self, request: &DiscoveryRequest) {
        let node = request.node.clone().unwrap_or_default();
        self.nodes.observe(
            self.id,
            Event::Connected {
                identity: self.identity.clone(),
                node: node.id.chars().take(MAX_NODE_CHARS).collect(),
                user_agent: node.user_agent_name.chars().take(MAX_NODE_CHARS).collect(),
            },
        );
    }

    /// Whether something may have to be sent.
    fn take(
        &self,
        request: &DiscoveryRequest,
        states: &mut [TypeState; 4],
    ) -> Result<bool, Status> {
        let Some(kind) = ResourceType::from_url(&request.type_url) else {
            tracing::debug!(type_url = request.type_url, "resource type not served");
            return Ok(false);
        };
        if request.resource_names.len() > MAX_NAMES {
            return Err(Status::resource_exhausted(format!(
                "{} resource names are asked for, at most {MAX_NAMES} are served",
                request.resource_names.len()
            )));
        }
        match states[kind as usize].on_request(request) {
            Answer::Stale => return Ok(false),
            Answer::Subscribed => {}
            Answer::Acked(version) => {
                self.nodes.observe(self.id, Event::Acked { kind, version });
            }
            Answer::Nacked(version) => {
                let detail: String = request
                    .error_detail
                    .as_ref()
                    .map(|status| status.message.chars().take(MAX_DETAIL_CHARS).collect())
                    .unwrap_or_default();
                tracing::warn!(%kind, version, detail, "a node refuses its configuration");
                let event = Event::Nacked {
                    kind,
                    version,
                    detail,
                };
                self.nodes.observe(self.id, event);
            }
        }
        Ok(true)
    }

    async fn push(
        &self,
        world: &NodeResources,
        states: &mut [TypeState; 4],
        nonces: &mut u64,
    ) -> Result<(), Status> {
        for kind in ResourceType::ALL {
            let nonce = (*nonces + 1).to_string();
            let Some(update) = states[kind as usize].response(world.set(kind), &nonce) else {
                continue;
            };
            *nonces += 1;
            // A changed cluster waits for its endpoints, a changed listener for its routes.
            match kind {
                ResourceType::Cluster => {
                    states[ResourceType::Endpoints as usize].repeat(&update.news);
                }
                ResourceType::Listener => {
                    states[ResourceType::Routes as usize].repeat(&update.news);
                }
                ResourceType::Endpoints | ResourceType::Routes => {}
            }
            let version = update.response.version_info.clone();
            tokio::time::timeout(SEND_TIMEOUT, self.responses.send(Ok(update.response)))
                .await
                .map_err(|_| Status::unavailable("the node takes no responses"))?
                .map_err(|_| Status::cancelled("the node is gone"))?;
            self.nodes.observe(self.id, Event::Sent { kind, version });
        }
        Ok(())
    }
}
