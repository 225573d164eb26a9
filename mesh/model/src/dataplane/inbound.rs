//! Who may call a workload, and how much.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::HeaderMatch;

/// The rules of one workload. Deny rules are asked first; what no allow rule matches is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inbound {
    /// The workload's service.
    pub service: String,
    /// gRFC A43's `deny_rules`.
    pub deny_rules: Vec<AuthzRule>,
    /// gRFC A43's `allow_rules`.
    pub allow_rules: Vec<AuthzRule>,
    /// What the rules refuse passes, and the log says that it would have been refused.
    pub is_dry_run: bool,
    /// Every limit that matches counts; the first that is exhausted refuses.
    pub rate_limits: Vec<RateLimit>,
    /// Sheds load before the workload drowns. `None`: everything that may pass does.
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// How important calls are that say nothing about it. The workload's own calls carry it on.
    pub default_criticality: Criticality,
}

/// One caller rule, gRFC A43.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthzRule {
    /// Shown in logs and error details.
    pub name: String,
    /// SPIFFE IDs; a trailing or leading `*` matches the rest. Empty: any authenticated caller.
    pub principals: Vec<String>,
    /// Paths such as `/sockshop.orders.v1.OrderService/*`; same wildcards. Empty: every method.
    pub paths: Vec<String>,
    /// Headers, all of which must match.
    pub headers: Vec<HeaderMatch>,
}

/// A local rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Shown in logs and error details.
    pub name: String,
    /// Whose calls: as [`AuthzRule::principals`].
    pub principals: Vec<String>,
    /// Which methods: as [`AuthzRule::paths`].
    pub paths: Vec<String>,
    /// Who shares a bucket.
    pub key: RateLimitKey,
    /// How large each bucket is.
    pub token_bucket: TokenBucket,
}

/// Whose calls share a bucket. Buckets of keys that were not seen for long are forgotten; their number
/// is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateLimitKey {
    /// All together.
    #[default]
    All,
    /// Each caller's own, by SPIFFE ID.
    Caller,
    /// Each method's own.
    Method,
    /// One for each value of this header (lower case). Calls without it share one.
    Header(String),
}

/// Envoy's `token_bucket`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// What fits, and what it begins with.
    pub max_tokens: u32,
    /// What is added.
    pub tokens_per_fill: u32,
    /// How often it is added.
    pub fill_interval: Duration,
}

/// Limits the calls under way to what the workload carries without queueing, measured by latency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptiveConcurrency {
    /// Never fewer at once. Default 1.
    pub min_concurrency: u32,
    /// Never more at once. Default 1000.
    pub max_concurrency: u32,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self {
            min_concurrency: 1,
            max_concurrency: 1000,
        }
    }
}

/// How much a call matters, as Google's SRE book grades it. Under overload the least is shed first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Criticality {
    /// Nobody is hurt if it fails for hours.
    Sheddable,
    /// Partial unavailability is expected; it can be retried minutes later.
    SheddablePlus,
    /// A user sees its failure.
    #[default]
    Critical,
    /// Many users see its failure.
    CriticalPlus,
}

impl Criticality {
    /// Every grade, the least first.
    pub const ALL: [Self; 4] = [
        Self::Sheddable,
        Self::SheddablePlus,
        Self::Critical,
        Self::CriticalPlus,
    ];

    /// The value of `x-weft-criticality`, `CRITICAL_PLUS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "SHEDDABLE",
            Self::SheddablePlus => "SHEDDABLE_PLUS",
            Self::Critical => "CRITICAL",
            Self::CriticalPlus => "CRITICAL_PLUS",
        }
    }

    /// Reads what [`Self::as_str`] writes. `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.as_str() == text)
    }
}
