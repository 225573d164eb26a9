//! What a data plane needs to know: the checked mesh file and the contracts, resolved for one target.
//!
//! The control plane builds these values, `weft-xds` carries them as xDS resources, `weft-policy`
//! decides by them. They are plain: no I/O, no behaviour beyond matching. [`method`] holds how calls of
//! a method behave, [`route`] where calls go, [`endpoint`] where a service is, [`resilience`] how
//! endpoints are chosen and protected, [`inbound`] who may call a workload and how much.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod endpoint;
mod inbound;
mod label;
mod matching;
mod method;
mod resilience;
mod route;

pub use endpoint::{
    Discovery, DnsName, Endpoint, HealthStatus, InvalidLocality, Locality, TlsMode,
};
pub use inbound::{
    AdaptiveConcurrency, AuthzRule, Criticality, Inbound, RateLimit, RateLimitKey, TokenBucket,
};
pub use label::{InvalidLabel, Label, is_label_key, is_label_value};
pub use matching::{HeaderMatch, MethodMatch, TextMatch, check_regex};
pub use method::{HedgingPolicy, MethodRule, RetryPolicy, RetryThrottling};
pub use resilience::{
    CircuitBreakers, FailurePercentage, HealthCheck, LoadBalancing, OutlierDetection, RetryBudget,
    SuccessRate,
};
pub use route::{
    Backend, Fault, FaultAbort, FaultDelay, HeaderChanges, Mirror, RouteMatch, RouteRule,
};

/// Everything one data plane holds at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The targets that can be called, by authority (`payments:7070`).
    pub targets: BTreeMap<String, Target>,
    /// Who may call the workload beside this proxy. `None` where there is none (the edge).
    pub inbound: Option<Inbound>,
}

/// One service as its callers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// The name callers dial, with port: `payments:7070`.
    pub authority: String,
    /// The service's name in the mesh file: `payments`.
    pub service: String,
    /// The SPIFFE ID an endpoint must prove: `spiffe://sockshop.local/ns/shop/sa/payments`. Empty where
    /// TLS is switched off; an empty one alone switches nothing off.
    pub identity: String,
    /// How connections to its endpoints are secured.
    pub tls: TlsMode,
    /// Most specific first: a method, then a service, then all. The first match applies.
    pub methods: Vec<MethodRule>,
    /// Where calls go, in the order of the mesh file. The first match applies; without one, calls go to
    /// all endpoints of this target.
    pub routes: Vec<RouteRule>,
    /// The retry budget over all methods. `None`: 100 tokens, a tenth of one back for each success; no
    /// retry is without a budget.
    pub retry_throttling: Option<RetryThrottling>,
    /// When an endpoint that fails is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// How much may be under way at once.
    pub circuit_breakers: CircuitBreakers,
    /// How an endpoint is chosen for each call.
    pub load_balancing: LoadBalancing,
    /// Active probes by `grpc.health.v1`.
    pub health_check: Option<HealthCheck>,
    /// While fewer than this share of the endpoints is healthy, 0 to 100, health is ignored: sending
    /// everything to a few would only fell these too. Envoy's `healthyPanicThreshold`; default 50.
    pub panic_threshold_percent: u32,
    /// Named subsets of the endpoints, by the labels an endpoint must have.
    pub subsets: BTreeMap<String, BTreeMap<String, String>>,
    /// Who knows the endpoints.
    pub discovery: Discovery,
    /// Where the service listens now, in no order. Empty for [`Discovery::Dns`], which proxies resolve.
    pub endpoints: Vec<Endpoint>,
}
