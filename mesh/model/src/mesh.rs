//! The checked mesh file.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    dataplane::{
        AdaptiveConcurrency, CircuitBreakers, Criticality, DnsName, Endpoint, HealthCheck,
        HedgingPolicy, LoadBalancing, Locality, OutlierDetection, RetryPolicy, RetryThrottling,
        TlsMode,
    },
    span::{Source, Span, Spanned},
};

mod inbound;
mod route;

pub use inbound::{Authz, HeaderRule, RateLimitRule, Rule};
pub use route::{BackendRef, MirrorRef, Route, RouteEntry, RouteMatchEntry};

/// The service account of the edge. No service may have it.
pub const EDGE_ACCOUNT: &str = "edge";

/// The service account of the control plane. No service may have it.
pub const CONTROL_ACCOUNT: &str = "control";

/// A mesh file without problems in itself. Whether it fits the contracts, [`crate::check`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The SPIFFE trust domain: `sockshop.local`.
    pub trust_domain: String,
    /// The namespace in every SPIFFE ID: `shop`.
    pub namespace: String,
    /// How calls behave where a service says nothing.
    pub defaults: Vec<MethodConfig>,
    /// The services by name.
    pub services: BTreeMap<String, Service>,
    /// Where calls go, in the order of the file.
    pub routes: Vec<Route>,
    /// The front.
    pub edge: Edge,
    /// The file it was read from, for problems found later.
    pub source: Arc<Source>,
}

impl Mesh {
    /// The SPIFFE ID of a service account of this mesh.
    pub fn identity(&self, service_account: &str) -> String {
        let (trust_domain, namespace) = (&self.trust_domain, &self.namespace);
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }

    /// The service that answers for a gRPC service. One that is only the backend of another's route,
    /// such as a new version, does not: its calls come through that route.
    pub(crate) fn serving(&self, contract: &str) -> Option<&Service> {
        self.services.values().find(|service| {
            service.serves.iter().any(|served| served.value == contract)
                && !self.is_backend(&service.name.value)
        })
    }

    /// Whether calls to another service are sent to this one.
    pub(crate) fn is_backend(&self, service: &str) -> bool {
        let is_it = |name: &Spanned<String>| name.value == service;
        self.routes.iter().any(|route| {
            let mut rules = route.rules.iter();
            !route.parents.iter().any(is_it)
                && rules.any(|rule| rule.targets().any(|backend| is_it(&backend.service)))
        })
    }

    /// A path of the mesh file, which is relative to the folder of that file.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let folder = Path::new(&self.source.name).parent();
        folder.unwrap_or(Path::new("")).join(path)
    }
}

/// One service: how it is started, reached, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name others dial.
    pub name: Spanned<String>,
    /// The port others dial; with the name it makes the authority.
    pub port: Spanned<u16>,
    /// The account in its SPIFFE ID. Default: the name.
    pub service_account: Spanned<String>,
    /// The gRPC services it implements, fully qualified.
    pub serves: Vec<Spanned<String>>,
    /// How `weft up` starts it. `None`: somebody else does.
    pub run: Option<Run>,
    /// Its own database. `None`: it has none.
    pub database: Option<Database>,
    /// How calls of its methods behave.
    pub method_config: Vec<MethodConfig>,
    /// The retry budget of each of its callers.
    pub retry_throttling: Option<RetryThrottling>,
    /// How its callers choose an endpoint.
    pub load_balancing: LoadBalancing,
    /// When its callers leave an endpoint out.
    pub outlier_detection: Option<OutlierDetection>,
    /// How much each of its callers may have under way.
    pub circuit_breakers: CircuitBreakers,
    /// How its callers probe it.
    pub health_check: Option<Spanned<HealthCheck>>,
    /// Below which share of healthy endpoints, in percent, its callers ignore health.
    pub panic_threshold_percent: u32,
    /// Named subsets of its endpoints, by the labels an endpoint must have.
    pub subsets: BTreeMap<String, BTreeMap<String, String>>,
    /// What its workloads are labelled with, unless they say otherwise themselves.
    pub labels: BTreeMap<String, String>,
    /// Where its workloads run, unless they say otherwise themselves.
    pub locality: Locality,
    /// Who knows its endpoints.
    pub endpoints: EndpointSource,
    /// How it is connected to.
    pub tls: TlsMode,
    /// How important calls to it are that say nothing about it.
    pub criticality: Criticality,
    /// Who may call it.
    pub authz: Authz,
    /// How often it may be called.
    pub rate_limits: Vec<RateLimitRule>,
    /// How it sheds load.
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
}

/// Who knows the endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointSource {
    /// Its workloads register with the control plane.
    #[default]
    Registry,
    /// The mesh file lists them.
    List(Vec<Endpoint>),
    /// A name that proxies resolve.
    Dns(DnsName),
}

impl Service {
    /// What callers dial: `payments:7070`.
    pub fn authority(&self) -> String {
        format!("{}:{}", *self.name, *self.port)
    }

    /// Whether it is no part of the mesh: no workload of ours, reached without TLS, with no identity.
    pub fn is_outside(&self) -> bool {
        self.tls == TlsMode::Disable
    }
}

/// How `weft up` starts a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is started.
    pub program: Spanned<Program>,
    /// How many of it, 1 to 20.
    pub replicas: u32,
    /// Its environment besides what `weft up` sets.
    pub env: BTreeMap<String, String>,
    /// Other versions beside it, by name. Their workloads have the name as the label `version`.
    pub versions: BTreeMap<String, Run>,
}

/// The program of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The binary of a package of the cargo workspace around the mesh file.
    Cargo(String),
    /// A command and its arguments, run in the folder of the mesh file.
    Command(Vec<String>),
}

/// The database of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file in the data folder of `weft up`.
    Sqlite,
    /// A database that runs elsewhere, `postgres://...`.
    Url(String),
}

/// gRPC service config's `methodConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodConfig {
    /// Which methods.
    pub names: Vec<MethodName>,
    /// The longest a call may take.
    pub timeout: Option<Spanned<Duration>>,
    /// When and how a call is repeated.
    pub retry_policy: Option<Spanned<RetryPolicy>>,
    /// When a call is sent more than once at a time. Never together with a retry policy.
    pub hedging_policy: Option<Spanned<HedgingPolicy>>,
}

/// gRPC service config's `name`: nothing for all methods, a service, or a method of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodName {
    /// Fully qualified gRPC service.
    pub service: Option<Spanned<String>>,
    /// The method's bare name. Only with a service.
    pub method: Option<Spanned<String>>,
    /// The whole name.
    pub span: Span,
}

/// The front: where it listens, whom it believes, what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where browsers and clients connect. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The account in its SPIFFE ID: [`EDGE_ACCOUNT`].
    pub service_account: String,
    /// The folder of the storefront, relative to the mesh file: see [`Mesh::resolve`].
    pub pages: Option<Spanned<PathBuf>>,
    /// Which end-user tokens are believed.
    pub jwt_rules: Vec<JwtRule>,
    /// The largest request body. Default: 1 MiB.
    pub max_body_bytes: u64,
    /// Commands `weft up` shows to try; `$EDGE` stands for the edge's URL.
    pub examples: Vec<Example>,
    /// Where the file speaks of the edge.
    pub span: Span,
}

/// Istio's `jwtRules`: one issuer whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRule {
    /// The `iss` claim.
    pub issuer: Spanned<String>,
    /// A token must be for one of these. Never empty.
    pub audiences: Vec<String>,
    /// Where the issuer's public keys are: a service of this mesh by name and port, asked over it.
    pub jwks_uri: Spanned<String>,
}

/// A command to try once everything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it shows: `place an order`.
    pub name: String,
    /// One line for a shell. `$EDGE` stands for the edge's URL.
    pub shell: String,
}
