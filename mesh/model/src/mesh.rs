//! The checked mesh file.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    dataplane::{AuthzRule, OutlierDetection, RetryPolicy, RetryThrottling},
    span::{Source, Span, Spanned},
};

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
    /// When its callers leave an endpoint out.
    pub outlier_detection: Option<OutlierDetection>,
    /// Who may call it.
    pub authz: Authz,
}

impl Service {
    /// What callers dial: `payments:7070`.
    pub fn authority(&self) -> String {
        format!("{}:{}", *self.name, *self.port)
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

/// gRFC A43's policy. What no allow rule matches is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authz {
    /// Asked first.
    pub deny_rules: Vec<Rule>,
    /// Asked when no deny rule matched.
    pub allow_rules: Vec<Rule>,
}

/// One caller rule with the places of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Shown in logs and error details.
    pub name: Spanned<String>,
    /// SPIFFE IDs, `*` at one end matches the rest. Empty: any authenticated caller.
    pub principals: Vec<Spanned<String>>,
    /// Paths, same wildcards. Empty: every method.
    pub paths: Vec<Spanned<String>>,
}

impl Rule {
    /// The rule without places.
    pub fn to_dataplane(&self) -> AuthzRule {
        let texts = |items: &[Spanned<String>]| items.iter().map(|s| s.value.clone()).collect();
        AuthzRule {
            name: self.name.value.clone(),
            principals: texts(&self.principals),
            paths: texts(&self.paths),
            ..AuthzRule::default()
        }
    }
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
