//! xDS resources back into `weft_model::dataplane` values. What this data plane would not carry out is
//! refused with the path of the field: a config that is silently ignored is worse than none.

use std::{collections::BTreeMap, time::Duration};

use prost::{Message, Name};
use prost_types::Any;
use weft_model::dataplane::{
    CircuitBreakers, Discovery, Endpoint, HealthCheck, Inbound, LoadBalancing, MethodRule,
    OutlierDetection, RetryThrottling, RouteRule, TlsMode,
};

use crate::proto::envoy::{
    config::core::v3::{ConfigSource, RuntimeFractionalPercent, config_source},
    r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType},
};

mod balancing;
mod cluster;
mod endpoints;
mod facts;
mod fault;
mod limits;
mod listener;
mod matcher;
mod outlier;
mod rbac;
mod retry;
mod route;
mod routes;

pub use cluster::cluster;
pub use endpoints::endpoints;
pub use listener::listener;
pub use routes::routes;

/// Why a resource is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Invalid {
    /// The field, such as `virtual_hosts[0].routes[2].route.weighted_clusters`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// The same problem, seen from the message that holds this one.
    pub(crate) fn within(mut self, outer: impl AsRef<str>) -> Self {
        let outer = outer.as_ref();
        self.path = match self.path.as_str() {
            "" => outer.to_owned(),
            path => format!("{outer}.{path}"),
        };
        self
    }
}

/// Refuses a field that is set.
pub(crate) fn unsupported(path: &str, is_set: bool) -> Result<(), Invalid> {
    if is_set {
        return Err(Invalid::new(path, "not supported by this data plane"));
    }
    Ok(())
}

pub(crate) fn required<T>(path: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(path, "required"))
}

/// A listener as far as a data plane of ours needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Calls to this authority follow these routes.
    Outbound {
        /// What callers dial.
        authority: String,
        /// The name of the route configuration.
        routes: String,
    },
    /// Who may call the workload.
    Inbound(Inbound),
}

/// The routes of one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The route configuration's name.
    pub name: String,
    /// The service's name in the mesh file.
    pub service: String,
    /// Where calls go that no rule sends elsewhere.
    pub cluster: String,
    /// What applies to which method, most specific first.
    pub methods: Vec<MethodRule>,
    /// Where calls go, in order. Backends are clusters.
    pub rules: Vec<RouteRule>,
    /// The header by whose value a ring is asked.
    pub hash_header: Option<String>,
}

impl Routes {
    /// The other clusters that calls or copies of them go to.
    pub fn backends(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| {
            let mirrors = rule.mirrors.iter().map(|mirror| &mirror.backend);
            let backends = rule.backends.iter().chain(mirrors);
            backends.map(|backend| backend.authority.as_str())
        })
    }
}

/// A group of equal endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// The name of its endpoint assignment. `None` for one that is found by DNS.
    pub endpoints: Option<String>,
    /// Who knows the endpoints.
    pub discovery: Discovery,
    /// How connections are secured.
    pub tls: TlsMode,
    /// The SPIFFE ID an endpoint must prove. Empty where TLS is switched off.
    pub identity: String,
    /// How an endpoint is chosen. The header of a ring is left empty: routes name it.
    pub load_balancing: LoadBalancing,
    /// Named subsets of the endpoints.
    pub subsets: BTreeMap<String, BTreeMap<String, String>>,
    /// The retry budget.
    pub retry_throttling: Option<RetryThrottling>,
    /// Passive health.
    pub outlier_detection: Option<OutlierDetection>,
    /// How much may be under way.
    pub circuit_breakers: CircuitBreakers,
    /// Active probes.
    pub health_check: Option<HealthCheck>,
    /// Below which share of healthy endpoints health is ignored.
    pub panic_threshold_percent: u32,
}

/// Where a cluster's endpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The assignment's name.
    pub name: String,
    /// Sorted.
    pub endpoints: Vec<Endpoint>,
}

/// The name of a resource that may be refused otherwise. In all four types it is field 1.
pub(crate) fn name(any: &Any) -> Option<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    let named = Named::decode(any.value.as_slice()).ok()?;
    (!named.name.is_empty()).then_some(named.name)
}

/// Decodes a packed message after checking its type.
pub(crate) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Invalid> {
    let wanted = M::full_name();
    if any.type_url.rsplit('/').next() != Some(wanted.as_str()) {
        let reason = format!(
            "holds `{}`, expected `{wanted}`",
            any.type_url.escape_default()
        );
        return Err(Invalid::new("@type", reason));
    }
    M::decode(any.value.as_slice())
        .map_err(|error| Invalid::new("value", format!("not a readable `{wanted}`: {error}")))
}

/// As [`unpack`], for a field that must be there.
pub(crate) fn unpack_field<M: Message + Name + Default>(
    path: &str,
    any: Option<&Any>,
) -> Result<M, Invalid> {
    unpack(required(path, any)?).map_err(|e| e.within(path))
}

pub(crate) fn named(path: &str, name: String) -> Result<String, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(path, "required"));
    }
    Ok(name)
}

/// Resources come over the one stream there is.
pub(crate) fn from_this_stream(path: &str, source: Option<&ConfigSource>) -> Result<(), Invalid> {
    use config_source::ConfigSourceSpecifier::{Ads, Self_};
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(Ads(_) | Self_(_)) => Ok(()),
        Some(_) => Err(Invalid::new(path, "only `ads` and `self` are supported")),
        None => Err(Invalid::new(path, "required")),
    }
}

pub(crate) fn duration(
    path: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    value
        .map(|value| {
            Duration::try_from(*value).map_err(|_| Invalid::new(path, "not a positive duration"))
        })
        .transpose()
}

/// A duration that must not be zero.
pub(crate) fn positive(
    path: &str,
    value: Option<&prost_types::Duration>,
    default: Duration,
) -> Result<Duration, Invalid> {
    let value = duration(path, value)?.unwrap_or(default);
    if value.is_zero() {
        return Err(Invalid::new(path, "must be more than zero"));
    }
    Ok(value)
}

/// A whole percentage.
pub(crate) fn percent(path: &str, value: Option<&Percent>, default: u32) -> Result<u32, Invalid> {
    let Some(value) = value.map(|percent| percent.value) else {
        return Ok(default);
    };
    if value.fract() != 0.0 || !(0.0..=100.0).contains(&value) {
        return Err(Invalid::new(path, "not a whole percentage"));
    }
    // In range and whole, so the cast is exact.
    Ok(value as u32)
}

/// A share in thousandths of a percent.
pub(crate) fn share(path: &str, value: Option<&FractionalPercent>) -> Result<u32, Invalid> {
    let value = required(path, value)?;
    let numerator = u64::from(value.numerator);
    let share = match value.denominator() {
        DenominatorType::Hundred => numerator * 1000,
        DenominatorType::TenThousand => numerator * 10,
        DenominatorType::Million if numerator % 10 == 0 => numerator / 10,
        DenominatorType::Million => {
            let reason = "thousandths of a percent are the finest that is supported";
            return Err(Invalid::new(path, reason));
        }
    };
    u32::try_from(share)
        .ok()
        .filter(|share| *share <= 100_000)
        .ok_or_else(|| Invalid::new(path, "more than everything"))
}

/// As [`share`], for a field that runtime settings could change.
pub(crate) fn runtime_share(path: &str, value: &RuntimeFractionalPercent) -> Result<u32, Invalid> {
    share(
        &format!("{path}.default_value"),
        value.default_value.as_ref(),
    )
}
