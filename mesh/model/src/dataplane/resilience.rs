//! How endpoints are chosen, probed, left out and protected.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How an endpoint is chosen for each call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBalancing {
    /// The less loaded of two random endpoints, by requests under way and a peak-sensitive moving
    /// average of the time to response headers.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// One after the other, in proportion to what each reports of its load (ORCA); endpoint weights
    /// until reports have come.
    WeightedRoundRobin {
        /// Reports are not believed before an endpoint has sent them for this long. Default 10 s.
        blackout_period: Duration,
        /// Without a report for this long, an endpoint's weight is forgotten. Default 180 s.
        expiration_period: Duration,
        /// How much errors per second weigh against utilization, in thousandths. Default 1000.
        error_utilization_penalty_permille: u32,
    },
    /// The same endpoint for the same value of a header, as Envoy's ring: xxHash64. Requests without
    /// the header go anywhere.
    RingHash {
        /// Lower case.
        header: String,
        /// Default 1024.
        minimum_ring_size: u32,
        /// Default 8192.
        maximum_ring_size: u32,
    },
    /// The first endpoint that answers, for all calls, until it fails.
    PickFirst,
}

/// Passive health. Ejection lasts the base time, times the number of ejections so far, up to the
/// longest; every interval an endpoint behaves takes one off that number. Envoy's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierDetection {
    /// Failures in a row (connect errors, resets, `UNAVAILABLE`) that eject. `None`: not by this.
    pub consecutive_errors: Option<u32>,
    /// Between two looks at the rates. Default 10 s.
    pub interval: Duration,
    /// The first ejection; the n-th lasts n times as long. Default 30 s.
    pub base_ejection_time: Duration,
    /// The longest ejection. Default 300 s.
    pub max_ejection_time: Duration,
    /// At most this share of the endpoints is ejected at once, 0 to 100; default 10.
    pub max_ejection_percent: u32,
    /// Ejects whoever fails too large a share of its calls.
    pub failure_percentage: Option<FailurePercentage>,
    /// Ejects whoever succeeds much less often than the others.
    pub success_rate: Option<SuccessRate>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_errors: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            failure_percentage: None,
            success_rate: None,
        }
    }
}

/// gRFC A50's `failure_percentage_ejection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailurePercentage {
    /// A larger share of failures than this ejects, 0 to 100. Default 85.
    pub threshold: u32,
    /// How many endpoints must have had `request_volume` calls. Default 5.
    pub minimum_hosts: u32,
    /// How many calls an endpoint must have had in an interval to be judged. Default 50.
    pub request_volume: u32,
}

/// gRFC A50's `success_rate_ejection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessRate {
    /// Ejected is who lies more than so many thousandths of a standard deviation below the mean of
    /// success rates. Default 1900.
    pub stdev_factor_permille: u32,
    /// As in [`FailurePercentage`]. Default 5.
    pub minimum_hosts: u32,
    /// As in [`FailurePercentage`]. Default 100.
    pub request_volume: u32,
}

/// How much may be under way at one target from one proxy. What exceeds it fails at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreakers {
    /// Connections to all endpoints together. Default 1024.
    pub max_connections: u32,
    /// Calls that wait for a connection. Default 1024.
    pub max_pending_requests: u32,
    /// Calls. Default 1024.
    pub max_requests: u32,
    /// Retries and hedges, besides the budget. Default 1024.
    pub max_retries: u32,
    /// Which share of the calls under way may be retries and hedges.
    pub retry_budget: RetryBudget,
}

/// Envoy's `retry_budget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Of the calls under way, 0 to 100. Default 20.
    pub budget_percent: u32,
    /// Allowed in any case. Default 10, as many as Linkerd allows each second: with Envoy's 3, the calls
    /// that are on a replica when it dies would mostly fail.
    pub min_retry_concurrency: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 1024,
            retry_budget: RetryBudget {
                budget_percent: 20,
                min_retry_concurrency: 10,
            },
        }
    }
}

/// Active probes of each endpoint by `grpc.health.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The `service` that is asked for. Empty: the server as a whole.
    pub service_name: String,
    /// Between two probes of one endpoint. Default 5 s.
    pub interval: Duration,
    /// A probe that takes longer has failed. Default 1 s.
    pub timeout: Duration,
    /// Failed probes in a row that make an endpoint unhealthy. Default 2.
    pub unhealthy_threshold: u32,
    /// Good probes in a row that make it healthy again. Default 1.
    pub healthy_threshold: u32,
}
