//! A policy test as it was read: what there is, who calls, what is expected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weft_model::{
    Mesh, Source, Span, Spanned,
    dataplane::{HealthStatus, Inbound, Locality, Target},
};
use weft_policy::LoadReport;

use crate::words::{Amount, Answer, Spread};

/// One policy test file.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its cases in the order of the file.
    pub cases: Vec<Case>,
    pub(crate) source: Arc<Source>,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) targets: BTreeMap<String, Target>,
    pub(crate) inbound: BTreeMap<String, Inbound>,
}

/// One case of a file.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: Spanned<String>,
    pub(crate) seed: u64,
    pub(crate) endpoints: BTreeMap<String, Vec<EndpointSpec>>,
    pub(crate) calls: Vec<CallSpec>,
    pub(crate) expect: Vec<Expect>,
}

/// One endpoint of a service.
#[derive(Clone, Debug)]
pub(crate) struct EndpointSpec {
    pub name: String,
    pub start: State,
    /// What it becomes, by the time from the beginning.
    pub changes: Vec<(Duration, State)>,
}

/// What an endpoint is at one time.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Whether the control plane knows it.
    pub is_there: bool,
    pub locality: Locality,
    pub priority: u32,
    pub weight: u32,
    pub labels: BTreeMap<String, String>,
    pub health: HealthStatus,
    pub behaviour: Behaviour,
}

/// What a workload does with requests.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub latency: Spread,
    pub answers: Arc<[Answer]>,
    /// After the last answer comes the first again, instead of the last for ever.
    pub is_cycle: bool,
    /// Which share of the requests ends with which status instead.
    pub fail: Option<(f64, i32)>,
    /// Until a connection is there. `None`: never.
    pub connect: Option<Duration>,
    /// How many requests it works on at once. `None`: all.
    pub workers: Option<u32>,
    /// How many more wait. What exceeds it is `RESOURCE_EXHAUSTED`.
    pub queue: u32,
    /// Streams per connection.
    pub streams: u32,
    /// From response headers to the end of the stream.
    pub stream: Duration,
    pub load: Option<LoadReport>,
    /// What it answers to health checks. `None`: nothing.
    pub is_serving: Option<bool>,
    /// What it calls in turn before it answers.
    pub calls: Arc<[Callee]>,
}

/// A method and the service that is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callee {
    pub authority: String,
    pub path: String,
}

/// Calls of one kind.
#[derive(Clone, Debug)]
pub(crate) struct CallSpec {
    pub callee: Callee,
    /// The service account that calls.
    pub from: String,
    /// Where the caller runs.
    pub locality: Locality,
    pub starts: Starts,
    pub timeout: Option<Duration>,
    pub headers: Vec<(String, String)>,
    pub is_replayable: bool,
    pub is_retry: bool,
    pub cancel_after: Option<Duration>,
    pub expect: Vec<Expect>,
}

/// When calls begin.
#[derive(Clone, Debug)]
pub(crate) enum Starts {
    /// At these times.
    At {
        first: Duration,
        every: Duration,
        times: u32,
        /// Whether the pauses vary as if callers knew nothing of each other.
        is_random: bool,
    },
    /// So many at once, each followed by the next, until a time.
    Clients {
        first: Duration,
        clients: u32,
        /// Between a client's calls.
        pause: Duration,
        until: Duration,
    },
}

/// What must have happened. What is not said is not asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expect {
    /// Only what began in this time.
    pub during: Option<(Duration, Duration)>,
    /// Only calls that ended with this status.
    pub only: Option<i32>,
    pub checks: Vec<(Span, Check)>,
}

/// One thing that must have happened.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Each call's status, any of these.
    Status(Vec<i32>),
    /// How many calls ended so.
    Statuses(Vec<(i32, Amount)>),
    Reason(String),
    Reasons(Vec<(String, Amount)>),
    /// Of each call: a text, or a part of it.
    Text(Fact, String),
    /// Of each call.
    Each(PerCall, Amount),
    /// From a call's beginning to each attempt's.
    AttemptsAt(Vec<Amount>),
    /// From each attempt's beginning to the next one's.
    AttemptsApart(Vec<Amount>),
    /// In the order of the attempts; more than one name: any of them.
    Endpoints(Vec<Vec<String>>),
    /// `grpc-previous-rpc-attempts` of each attempt.
    PreviousAttempts(Vec<u32>),
    /// How many calls there were.
    Calls(Amount),
    /// Percentiles of the time to the end.
    Percentiles(Vec<(f64, Amount)>),
    /// Which share of the attempts an endpoint got, or how many.
    Share(Vec<(String, Amount)>),
    /// How many requests arrived at a workload's sidecar or at a service.
    Received(Vec<(String, Amount)>),
    /// How many copies arrived.
    Copies(Vec<(String, Amount)>),
    /// How many attempts were cancelled at a workload.
    Cancelled(Vec<(String, Amount)>),
    /// Requests received per request without retries: at one service, or at the one that got most.
    Amplification(Vec<(String, Amount)>),
    /// Calls that ended well, per second, or of the capacity of the workloads.
    Goodput(Amount),
    /// The most at once: requests at an endpoint.
    Peak(Vec<(String, Amount)>),
    /// The most connections to an endpoint at once.
    Connections(Vec<(String, Amount)>),
    /// How many endpoints were ejected.
    EjectedCount(Amount),
    /// Who was ejected, and nobody else.
    Ejected(Vec<Ejected>),
    /// What arrived at workloads in these headers. `None`: the header was not there.
    ReceivedHeaders(Vec<(String, Option<String>)>),
    /// What callers get in these headers.
    ResponseHeaders(Vec<(String, Option<String>)>),
    /// What `RateLimit-*` headers say to each call.
    RateLimit(Vec<(RateLimitFact, Amount)>),
}

/// An endpoint that must have been ejected.
#[derive(Clone, Debug)]
pub(crate) struct Ejected {
    pub endpoint: String,
    /// From when until when, each time. `None`: whenever.
    pub times: Option<Vec<(Amount, Amount)>>,
}

impl Check {
    /// The endpoints and services it speaks of.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Share(named)
            | Self::Received(named)
            | Self::Copies(named)
            | Self::Cancelled(named)
            | Self::Amplification(named)
            | Self::Peak(named)
            | Self::Connections(named) => {
                let names = named.iter().map(|(name, _)| name.as_str());
                names.filter(|name| !name.is_empty()).collect()
            }
            Self::Endpoints(names) => names.iter().flatten().map(String::as_str).collect(),
            Self::Ejected(ejected) => ejected.iter().map(|e| e.endpoint.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

/// A text about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A part of what callers read.
    Message,
    /// The method rule.
    Rule,
    Route,
    /// The caller rule at the workload.
    CallerRule,
    /// The caller rule that would have refused, were it not on trial.
    WouldBeRefused,
    /// What the workload is told.
    Criticality,
}

/// A number of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerCall {
    Attempts,
    TransparentRetries,
    Hedges,
    Took,
    /// The time a workload has left for the request.
    DeadlineLeft,
    /// What a refused caller is told to wait.
    Pushback,
}

/// What `RateLimit-*` headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimitFact {
    Limit,
    Remaining,
    Reset,
}
