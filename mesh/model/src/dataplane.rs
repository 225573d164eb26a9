//! What a data plane needs to know: the checked mesh file and the contracts, resolved for one target.
//!
//! The control plane builds these values, `weft-xds` carries them as xDS resources, `weft-policy`
//! decides by them. They are plain: no I/O, no behaviour beyond matching.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Everything one data plane holds at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The targets that can be called, by authority (`payments:7070`).
    pub targets: BTreeMap<String, Target>,
    /// Who may call the workload beside this proxy. `None` where there is none (the edge).
    pub inbound: Option<Inbound>,
}

/// One service as its callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name callers dial, with port: `payments:7070`.
    pub authority: String,
    /// The service's name in the mesh file: `payments`.
    pub service: String,
    /// The SPIFFE ID an endpoint must prove: `spiffe://sockshop.local/ns/shop/sa/payments`.
    pub identity: String,
    /// Most specific first: a method, then a service, then all. The first match applies.
    pub methods: Vec<MethodRule>,
    /// The retry budget over all methods. `None`: only transparent retries.
    pub retry_throttling: Option<RetryThrottling>,
    /// When an endpoint that fails is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// Where the service listens now, in no order.
    pub endpoints: Vec<Endpoint>,
}

/// One running instance of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The inbound listener of the workload's sidecar.
    pub address: SocketAddr,
    /// The workload's name, for logs: `catalogue-2`.
    pub instance: String,
}

/// How calls of some methods behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodRule {
    /// Which methods.
    pub matches: MethodMatch,
    /// The longest a call may take. The caller's `grpc-timeout` may only shorten it.
    /// `None` for streams that live as long as their caller wants.
    pub timeout: Option<Duration>,
    /// Present only where the contract declares every matched method safe to repeat.
    pub retry_policy: Option<RetryPolicy>,
}

/// A gRPC service config `name`: both empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodMatch {
    /// Fully qualified service, `sockshop.orders.v1.OrderService`.
    pub service: Option<String>,
    /// Method, `GetOrder`. Only with a service.
    pub method: Option<String>,
}

impl MethodMatch {
    /// Whether `path` (`/sockshop.orders.v1.OrderService/GetOrder`) is matched.
    pub fn matches(&self, path: &str) -> bool {
        let Some(service) = &self.service else {
            return true;
        };
        let Some((found_service, found_method)) =
            path.strip_prefix('/').and_then(|rest| rest.split_once('/'))
        else {
            return false;
        };
        found_service == service
            && self
                .method
                .as_ref()
                .is_none_or(|method| method == found_method)
    }
}

/// gRFC A6's `retryPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first attempt included, 2 to 5.
    pub max_attempts: u32,
    /// Before the second attempt, jittered.
    pub initial_backoff: Duration,
    /// The longest wait between attempts.
    pub max_backoff: Duration,
    /// How the wait grows, in thousandths: 2000 doubles it.
    pub backoff_multiplier_permille: u32,
    /// Status codes that are retried, as gRPC numbers them.
    pub retryable_status_codes: Vec<i32>,
}

/// gRFC A6's `retryThrottling`: a bucket of tokens; a failure takes one, a success gives `token_ratio`
/// back; retries stop while half or fewer of the tokens are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryThrottling {
    /// 1 to 1000.
    pub max_tokens: u32,
    /// In thousandths of a token.
    pub token_ratio_permille: u32,
}

/// Passive health: after `consecutive_errors` failures in a row an endpoint is ejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row (connect errors, resets, `UNAVAILABLE`) that eject.
    pub consecutive_errors: u32,
    /// The first ejection; the n-th lasts n times as long.
    pub base_ejection_time: Duration,
    /// At most this share of the endpoints is ejected at once, 0 to 100.
    pub max_ejection_percent: u32,
}

/// The caller rules of one workload. Deny rules are asked first; what no allow rule matches is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// The workload's service.
    pub service: String,
    /// gRFC A43's `deny_rules`.
    pub deny_rules: Vec<AuthzRule>,
    /// gRFC A43's `allow_rules`.
    pub allow_rules: Vec<AuthzRule>,
}

/// One caller rule, gRFC A43.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthzRule {
    /// Shown in logs and error details.
    pub name: String,
    /// SPIFFE IDs; a trailing or leading `*` matches the rest. Empty: any authenticated caller.
    pub principals: Vec<String>,
    /// Paths such as `/sockshop.orders.v1.OrderService/*`; same wildcards. Empty: every method.
    pub paths: Vec<String>,
}
