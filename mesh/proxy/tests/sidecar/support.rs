//! A mesh without a control plane: a certificate authority, sidecars, and snapshots made by hand.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::body::Body;
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint as TonicEndpoint},
};
use tonic_prost::ProstCodec;
use tower::ServiceExt as _;
use weft_channel::registration::Particulars;
use weft_identity::{CertificateAuthority, Identity, SpiffeId, TrustDomain};
use weft_model::dataplane::{
    AuthzRule, Endpoint, Inbound, MethodMatch, MethodRule, RetryPolicy, RetryThrottling, Snapshot,
    Target,
};
use weft_proxy::{Grace, Listeners, Sidecar, Workload};
use weft_runtime::metrics::Metrics;

use crate::{echo::Echo, logs};

pub const AUTHORITY: &str = "echo:7070";

pub struct Mesh {
    pub authority: CertificateAuthority,
    trust_domain: TrustDomain,
    dir: TempDir,
}

impl Mesh {
    pub fn new(trust_domain: &str) -> Self {
        logs::capture();
        let dir = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new(trust_domain).unwrap();
        Self {
            authority: CertificateAuthority::open(dir.path(), &trust_domain).unwrap(),
            trust_domain,
            dir,
        }
    }

    /// The authority's files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn id(&self, account: &str) -> SpiffeId {
        SpiffeId::workload(&self.trust_domain, "shop", account).unwrap()
    }

    pub fn identity(&self, account: &str) -> Arc<Identity> {
        let svid = self
            .authority
            .issue(&self.id(account), Duration::from_secs(600))
            .unwrap();
        Identity::new(svid, self.authority.bundle().clone())
    }

    /// A target at `endpoints` whose method `Safe` is retried.
    pub fn target(&self, endpoints: &[SocketAddr]) -> Target {
        let rule = |method: Option<&str>, retry_policy| MethodRule {
            matches: MethodMatch {
                service: method.map(|_| "test.Echo".to_owned()),
                method: method.map(str::to_owned),
            },
            retry_policy,
            ..MethodRule::default()
        };
        let policy = RetryPolicy {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(50),
            backoff_multiplier_permille: 2000,
            retryable_status_codes: vec![14],
            per_attempt_timeout: None,
        };
        Target {
            authority: AUTHORITY.to_owned(),
            service: "echo".to_owned(),
            identity: self.id("echo").to_string(),
            methods: vec![
                rule(Some("Safe"), Some(policy)),
                rule(Some("Unary"), None),
                rule(None, None),
            ],
            retry_throttling: Some(RetryThrottling {
                max_tokens: 100,
                token_ratio_permille: 100,
            }),
            endpoints: endpoints
                .iter()
                .enumerate()
                .map(|(index, &address)| Endpoint::new(address, format!("echo-{}", index + 1)))
                .collect(),
            ..Target::default()
        }
    }

    /// What the caller's sidecar knows.
    pub fn calling(&self, endpoints: &[SocketAddr]) -> Snapshot {
        Snapshot {
            targets: [(AUTHORITY.to_owned(), self.target(endpoints))].into(),
            inbound: Some(Inbound::default()),
        }
    }

    /// What the workload's sidecar knows: `accounts` may call it.
    pub fn allowing(&self, accounts: &[&str]) -> Snapshot {
        let principals = accounts.iter().map(|account| self.id(account).to_string());
        Snapshot {
            inbound: Some(Inbound {
                service: "echo".to_owned(),
                allow_rules: vec![AuthzRule {
                    name: "friends".to_owned(),
                    principals: principals.chain(["spiffe://none".to_owned()]).collect(),
                    ..AuthzRule::default()
                }],
                ..Inbound::default()
            }),
            targets: [(AUTHORITY.to_owned(), self.target(&[]))].into(),
        }
    }

    pub async fn sidecar(&self, account: &str, app: SocketAddr, snapshot: Snapshot) -> Running {
        let identity = self.identity(account);
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (snapshots, followed) = watch::channel(Some(Arc::new(snapshot)));
        let metrics = Metrics::new();
        let sidecar = Sidecar::new(
            Workload {
                service: account.to_owned(),
                instance: format!("{account}-1"),
                app,
                advertise: None,
                particulars: Particulars::default(),
            },
            Listeners {
                inbound: listen().await.unwrap(),
                outbound: listen().await.unwrap(),
            },
            Arc::clone(&identity),
            followed,
            &metrics,
        )
        .unwrap();
        let (inbound, outbound) = (sidecar.inbound_address(), sidecar.outbound_address());
        let shutdown = CancellationToken::new();
        let cancelled = shutdown.clone().cancelled_owned();
        Running {
            inbound,
            outbound,
            identity,
            pages: sidecar.pages(),
            metrics,
            snapshots,
            shutdown,
            task: tokio::spawn(async {
                let ran = sidecar.run(None, cancelled, Grace::default()).await;
                ran.unwrap();
            }),
        }
    }

    /// A workload `echo` with its sidecar, which `orders` may call.
    pub async fn echo(&self) -> (Echo, Running, JoinHandle<()>) {
        let echo = Echo::default();
        let (app, task) = echo.serve(CancellationToken::new()).await;
        let sidecar = self.sidecar("echo", app, self.allowing(&["orders"])).await;
        (echo, sidecar, task)
    }

    /// The same under rules that `change` makes of the usual ones.
    pub async fn echo_under(&self, change: impl FnOnce(&mut Inbound)) -> (Echo, Running) {
        let echo = Echo::default();
        let (app, _) = echo.serve(CancellationToken::new()).await;
        let mut snapshot = self.allowing(&["orders"]);
        change(snapshot.inbound.as_mut().unwrap());
        (echo, self.sidecar("echo", app, snapshot).await)
    }

    /// The sidecar of `orders`, which calls `echo` at `endpoints` as `change` makes the usual target.
    pub async fn caller_of(
        &self,
        endpoints: &[&Running],
        change: impl FnOnce(&mut Target),
    ) -> Running {
        let endpoints: Vec<_> = endpoints.iter().map(|running| running.inbound).collect();
        let mut snapshot = self.calling(&endpoints);
        change(snapshot.targets.get_mut(AUTHORITY).unwrap());
        let nobody = "127.0.0.1:9".parse().unwrap();
        self.sidecar("orders", nobody, snapshot).await
    }

    /// The sidecar of `account`, which calls `echo` at `endpoints`.
    pub async fn caller(&self, account: &str, endpoints: &[SocketAddr]) -> Running {
        let nobody = "127.0.0.1:9".parse().unwrap();
        self.sidecar(account, nobody, self.calling(endpoints)).await
    }
}

/// A sidecar that runs.
pub struct Running {
    pub inbound: SocketAddr,
    pub outbound: SocketAddr,
    pub identity: Arc<Identity>,
    pub pages: axum::Router,
    pub metrics: Metrics,
    pub snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub fn set(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// What the admin port shows.
    pub async fn page(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let answer = self.pages.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    /// A client of `echo` behind this sidecar, as a workload would make it.
    pub async fn client(&self) -> Client {
        client_of(self.outbound).await
    }
}

/// A client of `echo` with a connection of its own to this outbound listener.
pub async fn client_of(outbound: SocketAddr) -> Client {
    client_to(AUTHORITY, outbound).await
}

/// The same of any target.
pub async fn client_to(authority: &str, outbound: SocketAddr) -> Client {
    let origin: Uri = format!("http://{authority}").parse().unwrap();
    let endpoint = TonicEndpoint::from_shared(format!("http://{outbound}")).unwrap();
    // Small, so that what is held back is held back by the sidecars.
    let endpoint = endpoint.initial_stream_window_size(64 * 1024);
    Client(Grpc::new(endpoint.origin(origin).connect().await.unwrap()))
}

#[derive(Clone)]
pub struct Client(pub Grpc<Channel>);

impl Client {
    pub async fn unary(&mut self, text: &str) -> Result<String, Status> {
        self.call("Unary", Request::new(text.to_owned()))
            .await
            .map(Response::into_inner)
    }

    pub async fn safe(&mut self, text: &str) -> Result<String, Status> {
        self.call("Safe", Request::new(text.to_owned()))
            .await
            .map(Response::into_inner)
    }

    pub async fn call(
        &mut self,
        method: &str,
        request: Request<String>,
    ) -> Result<Response<String>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(request, path(method), codec()).await
    }

    pub async fn ticks(&mut self, count: &str) -> Result<Streaming<String>, Status> {
        self.0.ready().await.unwrap();
        let request = Request::new(count.to_owned());
        let response = self
            .0
            .server_streaming(request, path("Ticks"), codec())
            .await?;
        Ok(response.into_inner())
    }
}

/// A request with metadata.
pub fn request(text: &str, metadata: &[(&'static str, &'static str)]) -> Request<String> {
    let mut request = Request::new(text.to_owned());
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

pub fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// An address where connections are refused until somebody listens there. It is held, so that no other
/// test is given it.
pub async fn nobody() -> SocketAddr {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    HELD.lock().push(socket);
    address
}

/// Waits until `holds`, for at most fifteen seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true that {what}");
}
