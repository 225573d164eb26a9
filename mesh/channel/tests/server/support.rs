//! A service of strings behind a [`Server`], and callers with certificates.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream};
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tonic::{
    Request, Response, Status, Streaming, body::Body, client::Grpc,
    codegen::http::uri::PathAndQuery, server::NamedService,
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use tower::Service;
use weft_channel::{AuthorityChannel, Channel, server::Server};
use weft_identity::{
    CertificateAuthority, Expected, Identity, SpiffeId, TrustDomain, client_config, server_name,
};
use weft_model::dataplane::{
    AuthzRule, Endpoint, Inbound, MethodMatch, MethodRule, Snapshot, Target,
};
use weft_runtime::metrics::Metrics;

const AUTHORITY: &str = "echo:7070";
const FLOOD_BYTES: usize = 32 * 1024;
type Strings = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// Certificates of one trust domain.
pub struct Authority {
    authority: CertificateAuthority,
    trust_domain: TrustDomain,
    _dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new("test.local").unwrap();
        Self {
            authority: CertificateAuthority::open(dir.path(), &trust_domain).unwrap(),
            trust_domain,
            _dir: dir,
        }
    }

    pub fn id(&self, account: &str) -> SpiffeId {
        SpiffeId::workload(&self.trust_domain, "shop", account).unwrap()
    }

    fn identity(&self, account: &str) -> Arc<Identity> {
        let hour = Duration::from_secs(3600);
        let svid = self.authority.issue(&self.id(account), hour).unwrap();
        Identity::new(svid, self.authority.bundle().clone())
    }
}

/// Accounts that may call everything.
pub fn may_call(accounts: &[&str]) -> Inbound {
    let id = |account: &&str| format!("spiffe://test.local/ns/shop/sa/{account}");
    Inbound {
        service: "echo".to_owned(),
        allow_rules: vec![AuthzRule {
            name: "friends".to_owned(),
            principals: accounts.iter().map(id).collect(),
            ..AuthzRule::default()
        }],
        ..Inbound::default()
    }
}

/// What the handlers do, and what they saw.
#[derive(Default)]
pub struct State {
    pub is_hanging: AtomicBool,
    pub dropped: AtomicUsize,
    seen: Mutex<Vec<HeaderMap>>,
}

pub struct World {
    pub authority: Authority,
    pub state: Arc<State>,
    pub address: SocketAddr,
    pub metrics: Metrics,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    serving: JoinHandle<()>,
}

impl World {
    pub async fn start(rules: Inbound) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (snapshots, followed) = watch::channel(Some(Arc::new(snapshot(address, rules))));
        let (identity, metrics) = (authority.identity("echo"), Metrics::new());
        let channel = Channel::new(followed.clone(), Arc::clone(&identity), &metrics);
        let server = Server::new(channel, followed, identity, &metrics).unwrap();
        let state = Arc::new(State::default());
        let echo = Echo(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .layer(server.layer())
                .add_service(echo)
                .serve_with_incoming(server.incoming(listener))
                .await
                .unwrap();
        });
        Self {
            authority,
            state,
            address,
            metrics,
            snapshots,
            serving,
        }
    }

    pub fn set(&self, rules: Inbound) {
        let snapshot = snapshot(self.address, rules);
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    pub fn client(&self, account: &str) -> Client<AuthorityChannel> {
        let identity = self.authority.identity(account);
        let channel = Channel::new(self.snapshots.subscribe(), identity, &Metrics::new());
        Client(Grpc::new(channel.service(AUTHORITY)))
    }

    pub fn last_seen(&self) -> HeaderMap {
        self.state.seen.lock().unwrap().last().unwrap().clone()
    }

    pub fn served(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// The `grpc-status` that a client without any timer of its own gets.
    pub async fn raw(&self, account: &str, timeout: &str) -> String {
        let identity = self.authority.identity(account);
        let expected = Expected::Id(self.authority.id("echo"));
        let tls = tokio_rustls::TlsConnector::from(client_config(&identity, expected).unwrap());
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let io = tls
            .connect(server_name(self.address.ip()), tcp)
            .await
            .unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
                .await
                .unwrap();
        let driver = tokio::spawn(connection);
        let request = http::Request::post(format!("https://{AUTHORITY}/test.Echo/Unary"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", timeout)
            .body(http_body_util::Full::new(bytes::Bytes::from_static(
                &[0; 5],
            )))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        driver.abort();
        let status = &response.headers()["grpc-status"];
        status.to_str().unwrap().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn snapshot(address: SocketAddr, rules: Inbound) -> Snapshot {
    let target = Target {
        authority: AUTHORITY.to_owned(),
        service: "echo".to_owned(),
        identity: "spiffe://test.local/ns/shop/sa/echo".to_owned(),
        methods: vec![MethodRule {
            matches: MethodMatch {
                service: Some("test.Echo".to_owned()),
                method: Some("Unary".to_owned()),
            },
            ..MethodRule::default()
        }],
        endpoints: vec![Endpoint::new(address, "echo-1")],
        ..Target::default()
    };
    Snapshot {
        targets: [(AUTHORITY.to_owned(), target)].into(),
        inbound: Some(rules),
    }
}

/// A client of the service.
pub struct Client<C>(pub Grpc<C>);

impl<C> Client<C>
where
    C: Service<http::Request<Body>, Response = http::Response<Body>>,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    pub async fn call(&mut self, request: Request<String>) -> Result<Response<String>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Unary");
        let codec = ProstCodec::default();
        self.0.unary(request, path, codec).await
    }

    /// A stream without end.
    pub async fn flood(
        &mut self,
        request: Request<String>,
    ) -> Result<Response<Streaming<String>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Flood");
        let codec = ProstCodec::default();
        self.0.server_streaming(request, path, codec).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// The `google.rpc.ErrorInfo` reason of a refusal.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
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

/// `test.Echo`: `Unary` answers nothing, or never; `Flood` streams without end.
#[derive(Clone)]
struct Echo(Arc<State>);

struct Dropped(Arc<State>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        echo.0.seen.lock().unwrap().push(request.headers().clone());
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(match request.uri().path() {
                "/test.Echo/Flood" => grpc.server_streaming(Flood(echo.0), request).await,
                _ => grpc.unary(Unary(echo.0), request).await,
            })
        })
    }
}

struct Unary(Arc<State>);

impl tonic::server::UnaryService<String> for Unary {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    fn call(&mut self, _: Request<String>) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            if state.is_hanging.load(Ordering::SeqCst) {
                let _dropped = Dropped(Arc::clone(&state));
                std::future::pending::<()>().await;
            }
            Ok(Response::new(String::new()))
        })
    }
}

struct Flood(Arc<State>);

impl tonic::server::ServerStreamingService<String> for Flood {
    type Response = String;
    type ResponseStream = Strings;
    type Future = BoxFuture<'static, Result<Response<Strings>, Status>>;

    fn call(&mut self, _: Request<String>) -> Self::Future {
        let dropped = Dropped(Arc::clone(&self.0));
        let endless = stream::repeat_with(move || {
            let _ = &dropped;
            Ok("x".repeat(FLOOD_BYTES))
        });
        Box::pin(async move { Ok(Response::new(endless.boxed())) })
    }
}
