//! The data plane's side of ADS: one stream, the cascade of listeners, routes, clusters and endpoints,
//! and a whole [`Snapshot`] whenever something has changed.
//!
//! The last good configuration stays when the control plane is away, when it sends something that is
//! refused, and, on disk, when this process starts before the control plane does.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use weft_model::dataplane::Snapshot;

use crate::{
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DiscoveryRequest, DiscoveryResponse,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            },
        },
        google::rpc,
    },
    resources::ResourceType,
};

mod disk;
mod options;
mod store;

pub use options::{AdsOptions, AdsStatus};

use store::Store;

const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// gRFC A57: a resource that has not come by then does not exist.
const DOES_NOT_EXIST: Duration = Duration::from_secs(15);
/// Changes come in bursts; the disk sees the last of them.
const PERSIST_DELAY: Duration = Duration::from_millis(500);
const QUEUE: usize = 16;
const INVALID_ARGUMENT: i32 = 3;

/// Keeps a [`Snapshot`] up to date.
#[derive(Debug)]
pub struct AdsClient {
    channel: Channel,
    options: AdsOptions,
    store: Store,
    published: bool,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    status: watch::Sender<AdsStatus>,
    unsaved_since: Option<Instant>,
}

impl AdsClient {
    /// A client over `channel`, which must be mutually authenticated. If `state_dir` holds a last good
    /// configuration, it is published at once. Nothing else happens before [`AdsClient::run`].
    pub fn new(channel: Channel, options: AdsOptions) -> Self {
        let mut client = Self {
            channel,
            store: Store::new(options.service.clone()),
            options,
            published: false,
            snapshots: watch::Sender::new(None),
            status: watch::Sender::default(),
            unsaved_since: None,
        };
        client.load();
        client
    }

    /// The configuration: `None` until the first is known, then always the last good one.
    pub fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.subscribe()
    }

    /// How the stream is doing.
    pub fn status(&self) -> watch::Receiver<AdsStatus> {
        self.status.subscribe()
    }

    /// Follows the control plane until `shutdown`, connecting again for ever.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => break,
                ended = self.stream() => ended,
            };
            if self.status.borrow().connected {
                backoff = FIRST_BACKOFF;
            }
            let error = describe(&ended);
            // Once per reason: trying again and again is not worth a line each time.
            if self.status.borrow().last_error.as_ref() == Some(&error) {
                tracing::debug!(error, "still no configuration stream");
            } else {
                tracing::warn!(
                    error,
                    "no configuration stream, the last good configuration stays"
                );
            }
            self.status.send_modify(|status| {
                status.connected = false;
                status.last_error = Some(error);
            });
            let wait = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
        if self.unsaved_since.is_some() {
            self.save().await;
        }
    }

    /// One stream from its first request to its end.
    async fn stream(&mut self) -> Status {
        let (requests, queue) = mpsc::channel(QUEUE);
        self.store.forget_nonces();
        // Some servers answer with headers only once they have a request.
        for kind in ResourceType::ALL {
            if kind.is_full_state() || !self.store.names(kind).is_empty() {
                let request = self.request(kind, None);
                if requests.try_send(request).is_err() {
                    return Status::internal("the request queue is full");
                }
            }
        }
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_RESPONSE_BYTES);
        let opened = client.stream_aggregated_resources(ReceiverStream::new(queue));
        let mut responses = match timeout(SEND_TIMEOUT, opened).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("the control plane does not answer"),
        };
        let give_up_waiting = Instant::now() + DOES_NOT_EXIST;
        loop {
            let save_at = self.unsaved_since.map(|since| since + PERSIST_DELAY);
            tokio::select! {
                response = responses.message() => {
                    let response = match response {
                        Ok(Some(response)) => response,
                        Ok(None) => return Status::unavailable("the control plane ended the stream"),
                        Err(status) => return status,
                    };
                    if let Err(status) = self.accept(response, &requests).await {
                        return status;
                    }
                }
                () = sleep_until(give_up_waiting), if !self.published => self.publish(),
                () = sleep_until(save_at.unwrap_or(give_up_waiting)), if save_at.is_some() => {
                    self.save().await;
                }
            }
        }
    }

    /// Takes a response in, answers it, and asks for what it refers to.
    async fn accept(
        &mut self,
        response: DiscoveryResponse,
        requests: &mpsc::Sender<DiscoveryRequest>,
    ) -> Result<(), Status> {
        let Some(kind) = ResourceType::from_url(&response.type_url) else {
            tracing::debug!(
                type_url = response.type_url,
                "resource type was not asked for"
            );
            return Ok(());
        };
        let referred = [ResourceType::Endpoints, ResourceType::Routes];
        let before = referred.map(|kind| self.store.names(kind));
        let outcome = self.store.accept(kind, response);
        let refused = outcome.err();
        if let Some(detail) = &refused {
            tracing::warn!(%kind, detail, "configuration refused");
        }
        self.status.send_modify(|status| {
            status.connected = true;
            status.last_error = None;
            let version = self.store.version(kind).to_owned();
            status.versions.insert(kind.to_string(), version);
            match &refused {
                Some(detail) => status.refused.insert(kind.to_string(), detail.clone()),
                None => status.refused.remove(&kind.to_string()),
            };
        });
        send(requests, self.request(kind, refused)).await?;
        for (kind, before) in referred.into_iter().zip(before) {
            if self.store.names(kind) != before {
                send(requests, self.request(kind, None)).await?;
            }
        }
        if self.published || self.store.is_settled() {
            self.publish();
        }
        Ok(())
    }

    fn request(&self, kind: ResourceType, refused: Option<String>) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.store.version(kind).to_owned(),
            node: Some(Node {
                id: self.options.node_id.clone(),
                cluster: self.options.service.clone().unwrap_or_default(),
                user_agent_name: "weft".to_owned(),
                ..Default::default()
            }),
            resource_names: self.store.names(kind).into_iter().collect(),
            type_url: kind.url().to_owned(),
            response_nonce: self.store.nonce(kind).to_owned(),
            error_detail: refused.map(|message| rpc::Status {
                code: INVALID_ARGUMENT,
                message,
                details: Vec::new(),
            }),
            ..Default::default()
        }
    }

    fn publish(&mut self) {
        let snapshot = self.store.snapshot();
        self.published = true;
        let changed = self.snapshots.send_if_modified(|current| {
            let differs = current.as_deref() != Some(&snapshot);
            if differs {
                *current = Some(Arc::new(snapshot));
            }
            differs
        });
        if changed && self.options.state_dir.is_some() {
            self.unsaved_since.get_or_insert_with(Instant::now);
        }
    }

    fn load(&mut self) {
        let Some(dir) = &self.options.state_dir else {
            return;
        };
        match disk::load(dir) {
            Ok(responses) if responses.is_empty() => {}
            Ok(responses) => {
                for (kind, response) in responses {
                    if let Err(detail) = self.store.accept(kind, response) {
                        tracing::warn!(%kind, detail, "a part of the last good configuration is unusable");
                    }
                }
                self.publish();
                self.unsaved_since = None;
                tracing::info!("starting with the last good configuration");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the last good configuration is unusable, waiting for the control plane"
                );
            }
        }
    }

    async fn save(&mut self) {
        self.unsaved_since = None;
        let Some(dir) = self.options.state_dir.clone() else {
            return;
        };
        let responses = self.store.responses();
        let written = tokio::task::spawn_blocking(move || disk::save(&dir, &responses)).await;
        if let Ok(Err(error)) = written {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the last good configuration is not saved");
        }
    }
}

async fn send(
    requests: &mpsc::Sender<DiscoveryRequest>,
    request: DiscoveryRequest,
) -> Result<(), Status> {
    timeout(SEND_TIMEOUT, requests.send(request))
        .await
        .map_err(|_| Status::unavailable("the control plane reads no requests"))?
        .map_err(|_| Status::unavailable("the stream is closed"))
}

/// The message of `status` and of what caused it, innermost last.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
