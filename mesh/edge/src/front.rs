//! One request from its head to the end of its response: which part answers, what every response
//! carries, the access log and metrics.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use prost_reflect::DescriptorPool;
use tokio::time::Instant;
use tonic::{Code, Status, service::Routes};
use tonic_health::server::HealthReporter;
use tonic_types::StatusExt;
use tracing::Instrument;
use weft_channel::{Body, body};
use weft_runtime::metrics::Metrics;
use weft_transcode::{Match, NoRoute};

use crate::{
    api::Api,
    auth::{Auth, Issuer},
    docs::Docs,
    failure::Failure,
    grpc,
    head::{LogLine, malformed, request_span, sized},
    headers, local,
    metrics::EdgeMetrics,
    observe::{Observed, Record},
    openapi,
    pages::{Pages, PagesError},
    rest,
    upstream::Upstream,
};

/// What a front serves.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The authority that serves each gRPC service: `sockshop.orders.v1.OrderService` at
    /// `orders:7070`. Only methods with an access option are served.
    pub routes: BTreeMap<String, String>,
    /// What reflection lists.
    pub services: Vec<String>,
    /// Whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// The folder of the pages.
    pub pages: Option<PathBuf>,
    /// The largest request body.
    pub max_body_bytes: usize,
}

/// Why a front cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// REST bindings of the contracts.
    #[error("the contracts cannot be served over REST:\n{0}")]
    Bindings(String),
    /// An issuer of tokens.
    #[error("{0}")]
    Issuer(String),
    /// The pages.
    #[error("the pages cannot be served")]
    Pages(#[from] PagesError),
}

/// Answers requests, whatever connection they came by.
pub struct Front {
    pub(crate) api: Arc<Api>,
    pub(crate) auth: Auth,
    pub(crate) local: Routes,
    pub(crate) max_body_bytes: usize,
    pub(crate) metrics: EdgeMetrics,
    health: HealthReporter,
    pages: Pages,
    docs: Docs,
}

/// What became known about a request while it was answered; travels as a response extension.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) protocol: &'static str,
    /// The method's path, or the kind of what answered.
    pub(crate) route: String,
    pub(crate) subject: Option<String>,
    pub(crate) code: Option<Code>,
    pub(crate) reason: Option<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            protocol: "http",
            route: "unknown".to_owned(),
            subject: None,
            code: None,
            reason: None,
        }
    }
}

/// The `ErrorInfo.reason` of a status.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

impl Front {
    /// Puts a front together; registers its metrics, so one front per `metrics`.
    ///
    /// # Errors
    ///
    /// If contracts, issuers or pages cannot be served.
    pub fn new(
        pool: &DescriptorPool,
        config: &Config,
        upstream: Arc<dyn Upstream>,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let api = Api::new(pool, &config.routes, upstream).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
            ConfigError::Bindings(lines.join("\n"))
        })?;
        let api = Arc::new(api);
        let auth = Auth::new(&api, &config.issuers).map_err(ConfigError::Issuer)?;
        let (local, health) = local::routes(pool, &config.services);
        let pages = match &config.pages {
            Some(folder) => Pages::read(folder)?,
            None => Pages::default(),
        };
        Ok(Self {
            docs: Docs::new(&openapi::document(&api)),
            api,
            auth,
            local,
            health,
            pages,
            max_body_bytes: config.max_body_bytes,
            metrics: EdgeMetrics::register(metrics),
        })
    }

    /// Whether the edge is serving, for `grpc.health.v1` and whoever balances over edges.
    pub async fn set_serving(&self, is_serving: bool) {
        let status = match is_serving {
            true => tonic_health::ServingStatus::Serving,
            false => tonic_health::ServingStatus::NotServing,
        };
        self.health.set_service_status("", status).await;
    }

    /// Keeps the keys of token issuers fresh until `stop`.
    pub async fn keep_keys_fresh(&self, stop: tokio_util::sync::CancellationToken) {
        let keys = self.auth.keys().map(|keys| keys.keep_fresh(stop.clone()));
        futures::future::join_all(keys).await;
    }

    pub(crate) fn is_local(&self, path: &str) -> bool {
        local::is_local(path)
    }

    /// Answers one request. Never fails, and never leaves a caller without a reason.
    pub async fn handle(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Body>,
    ) -> Response<Body> {
        let started = Instant::now();
        let id = headers::request_id(request.headers());
        let span = request_span(&request, &id);
        let log = LogLine::of(peer, &request, &id, started);
        let is_grpc = grpc::is_grpc(&request);
        let method = request.method().clone();
        let mut record = Record::new(self.metrics.clone(), span.clone(), log);
        let mut response = self.answer(request, &id).instrument(span.clone()).await;
        response.headers_mut().insert(headers::REQUEST_ID, id);
        if !is_grpc {
            headers::secure(response.headers_mut());
        }
        record.facts = response.extensions_mut().remove().unwrap_or_default();
        record.status = response.status();
        span.record("http.response.status_code", response.status().as_u16());
        span.record("otel.name", format!("{method} {}", record.facts.route));
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        let (head, content) = response.into_parts();
        let is_head = method == Method::HEAD;
        let content = if is_head { sized(&content) } else { content };
        Response::from_parts(head, body::boxed(Observed::new(content, record)))
    }

    async fn answer(&self, request: Request<Body>, id: &HeaderValue) -> Response<Body> {
        if let Some(problem) = malformed(&request) {
            let close = HeaderValue::from_static("close");
            let mut response = Failure::new(
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                "MALFORMED_REQUEST",
                problem,
            )
            .rest(&self.api.plans);
            if request.version() == Version::HTTP_11 {
                response.headers_mut().insert(header::CONNECTION, close);
            }
            return response;
        }
        if grpc::is_grpc(&request) {
            return grpc::serve(self, request, id).await;
        }
        let path = request.uri().path().to_owned();
        if let Some(file) = self.docs.answer(&path, request.headers()) {
            return self.file(&request, file, "api");
        }
        match self.find(request.method(), &path) {
            Ok(found) => rest::serve(self, found, request, id).await,
            Err(NoRoute::MethodNotAllowed(allowed)) => {
                rest::not_allowed(self, request.method(), &allowed)
            }
            Err(NoRoute::NotFound) => self.page(&request, &path),
            Err(NoRoute::Invalid(error)) => Failure::invalid(&error).rest(&self.api.plans),
        }
    }

    fn find(&self, method: &Method, path: &str) -> Result<Match<'_>, NoRoute> {
        self.api.router.find(method, path)
    }

    fn page(&self, request: &Request<Body>, path: &str) -> Response<Body> {
        if let Some(page) = self.pages.answer(path, request.headers()) {
            return self.file(request, page, "pages");
        }
        let page = self.pages.missing(request.headers());
        let page = page.filter(|_| is_read(request.method()));
        page.unwrap_or_else(|| rest::not_found(self, path))
    }

    fn file(&self, request: &Request<Body>, file: Response<Body>, route: &str) -> Response<Body> {
        if is_read(request.method()) {
            return with_route(file, route);
        }
        let allowed = ["GET", "HEAD", "OPTIONS"].map(str::to_owned);
        rest::not_allowed(self, request.method(), &allowed)
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn with_route(mut response: Response<Body>, route: &str) -> Response<Body> {
    let facts = Facts {
        route: route.to_owned(),
        ..Facts::default()
    };
    response.extensions_mut().insert(facts);
    response
}
