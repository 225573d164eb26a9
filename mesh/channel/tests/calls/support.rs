//! Replicas whose behaviour a test sets, and a channel that calls them without TLS.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contracts::weft::registry::v1::{
    DeregisterRequest, DeregisterResponse, RegisterRequest, RegisterResponse,
    registry_service_client::RegistryServiceClient,
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use http_body_util::BodyExt as _;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};
use tower::util::MapResponseLayer;
use weft_channel::{AuthorityChannel, Channel};
use weft_identity::Identity;
use weft_model::dataplane::{Endpoint, MethodMatch, MethodRule, RetryPolicy, Snapshot, Target};
use weft_runtime::metrics::Metrics;

pub const AUTHORITY: &str = "shop:7070";
pub const SERVICE: &str = "weft.registry.v1.RegistryService";
pub type Client = RegistryServiceClient<AuthorityChannel>;

/// A server on a port of its own.
pub struct Replica {
    pub address: SocketAddr,
    pub state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a replica does, and what it saw.
#[derive(Default)]
pub struct State {
    /// Before each answer.
    pub delay: Mutex<Duration>,
    /// Instead of success, one for each call.
    pub failures: Mutex<VecDeque<Code>>,
    /// `endpoint-load-metrics` of each answer.
    pub load: Mutex<Option<&'static str>>,
    pub seen: Mutex<Vec<MetadataMap>>,
    pub begun: AtomicUsize,
    pub cancelled: AtomicUsize,
}

#[derive(Clone)]
struct Handler(Arc<State>);

/// Counts a call that ends before its answer.
struct Running<'a>(Option<&'a AtomicUsize>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(cancelled) = self.0 {
            cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tonic::async_trait]
impl RegistryService for Handler {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let state = &self.0;
        state.seen.lock().unwrap().push(request.metadata().clone());
        state.begun.fetch_add(1, Ordering::SeqCst);
        let mut running = Running(Some(&state.cancelled));
        let delay = *state.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        running.0 = None;
        match state.failures.lock().unwrap().pop_front() {
            Some(code) => Err(Status::new(code, "as told")),
            None => Ok(Response::new(RegisterResponse::default())),
        }
    }

    async fn deregister(
        &self,
        _: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        Ok(Response::new(DeregisterResponse::default()))
    }
}

impl Replica {
    pub async fn start() -> Self {
        Self::with_health(None).await
    }

    /// With a health service, if there is one.
    pub async fn with_health(health: Option<tonic_health::server::HealthService>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let loaded = Arc::clone(&state);
        let trailers = move |response: http::Response<tonic::body::Body>| {
            let load = *loaded.load.lock().unwrap();
            response.map(|body| {
                tonic::body::Body::new(body.map_frame(move |frame| match frame.into_trailers() {
                    Ok(mut trailers) => {
                        if let Some(load) = load {
                            trailers.insert("endpoint-load-metrics", load.parse().unwrap());
                        }
                        http_body::Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                }))
            })
        };
        let health = health.map(tonic_health::pb::health_server::HealthServer::new);
        let server = tonic::transport::Server::builder()
            .layer(MapResponseLayer::new(trailers))
            .add_service(RegistryServiceServer::new(Handler(Arc::clone(&state))))
            .add_optional_service(health);
        let task = tokio::spawn(async move {
            let connections = TcpListenerStream::new(listener);
            server.serve_with_incoming(connections).await.unwrap();
        });
        Self {
            address,
            state,
            task,
        }
    }

    pub fn begun(&self) -> usize {
        self.state.begun.load(Ordering::SeqCst)
    }

    pub fn cancelled(&self) -> usize {
        self.state.cancelled.load(Ordering::SeqCst)
    }

    pub fn slow(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    pub fn fails(&self, codes: &[Code]) {
        self.state.failures.lock().unwrap().extend(codes);
    }

    pub fn last_seen(&self) -> MetadataMap {
        self.state.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A channel that follows one snapshot.
pub struct World {
    pub channel: Channel,
    pub metrics: Metrics,
    _snapshots: watch::Sender<Option<Arc<Snapshot>>>,
}

impl World {
    pub fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        let targets = targets
            .into_iter()
            .map(|target| (target.authority.clone(), target));
        let snapshot = Snapshot {
            targets: targets.collect(),
            inbound: None,
        };
        let (sender, snapshots) = watch::channel(Some(Arc::new(snapshot)));
        let metrics = Metrics::new();
        Self {
            channel: Channel::new(snapshots, None::<Arc<Identity>>, &metrics),
            metrics,
            _snapshots: sender,
        }
    }

    pub fn client(&self) -> Client {
        RegistryServiceClient::new(self.channel.service(AUTHORITY))
    }

    /// One call.
    pub async fn call(&self) -> Result<Response<RegisterResponse>, Status> {
        self.client().register(RegisterRequest::default()).await
    }

    /// One call that may take so long.
    pub async fn call_within(&self, timeout: Duration) -> Result<(), Status> {
        let mut request = Request::new(RegisterRequest::default());
        request.set_timeout(timeout);
        self.client().register(request).await.map(|_| ())
    }

    /// Whether the metrics have this line.
    pub fn counts(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|other| other == line)
    }
}

/// A target with these replicas, named by place.
pub fn target(authority: &str, replicas: &[&Replica]) -> Target {
    Target {
        authority: authority.to_owned(),
        service: authority.replace(":7070", ""),
        identity: "spiffe://test/ns/shop/sa/shop".to_owned(),
        methods: vec![rule()],
        endpoints: replicas
            .iter()
            .enumerate()
            .map(|(index, replica)| Endpoint::new(replica.address, format!("{authority}-{index}")))
            .collect(),
        ..Target::default()
    }
}

/// The rule of the one method.
pub fn rule() -> MethodRule {
    MethodRule {
        matches: MethodMatch {
            service: Some(SERVICE.to_owned()),
            method: Some("Register".to_owned()),
        },
        has_no_side_effects: true,
        ..MethodRule::default()
    }
}

/// A policy that repeats `UNAVAILABLE` soon.
pub fn retries(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(10),
        backoff_multiplier_permille: 2000,
        retryable_status_codes: vec![14],
        per_attempt_timeout: None,
    }
}

/// Waits until `holds`, for at most fifteen seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came true that {what}");
}
