//! Where calls go: the rules of the Gateway API's `GRPCRoute`.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{HeaderMatch, MethodMatch};

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRule {
    /// Shown in decision records: the rule's `name`, or its place, `rules[2]`.
    pub name: String,
    /// Which requests; any one suffices. Empty: every request.
    pub matches: Vec<RouteMatch>,
    /// Where they go, by weight. Empty: to the target they were sent to.
    pub backends: Vec<Backend>,
    /// Done to the request before it is sent.
    pub request_headers: HeaderChanges,
    /// Done to the response headers before they are handed on.
    pub response_headers: HeaderChanges,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror>,
    /// What is done to each attempt, behind the retry stage, so that a retry policy meets it.
    pub fault: Option<Fault>,
}

/// What a request must be: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// The method.
    pub method: MethodMatch,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
}

/// A service that takes a share of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The target's authority, `catalogue:7070`.
    pub authority: String,
    /// One of the target's subsets. `None`: all endpoints.
    pub subset: Option<String>,
    /// The share, in proportion to the sum of all weights. Zero: none.
    pub weight: u32,
}

/// Headers that are set, added and removed, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChanges {
    /// In place of what was there.
    pub set: Vec<(String, String)>,
    /// Besides what was there.
    pub add: Vec<(String, String)>,
    /// Lower case.
    pub remove: Vec<String>,
}

/// Where copies of requests go. Answers to copies are dropped, and failures of theirs are nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The weight is not read.
    pub backend: Backend,
    /// Which share of the requests, in thousandths of a percent: 100,000 is all.
    pub share_per_100_000: u32,
}

/// Envoy's `fault`, and failures in a fixed order for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Attempts wait before they are sent.
    pub delay: Option<FaultDelay>,
    /// Attempts are answered without being sent.
    pub abort: Option<FaultAbort>,
}

/// A wait before an attempt is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDelay {
    /// How long.
    pub fixed_delay: Duration,
    /// Of which share of the attempts, in thousandths of a percent.
    pub share_per_100_000: u32,
}

/// An answer in place of the endpoint's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAbort {
    /// gRPC status code.
    pub grpc_status: i32,
    /// Of which share of the attempts, in thousandths of a percent.
    pub share_per_100_000: u32,
    /// Only the first so many attempts of each call: `2` fails two and lets the third pass. `None`: all.
    pub first_attempts: Option<u32>,
}
