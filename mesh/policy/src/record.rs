//! The decision record: the one truth about why a call went where it went.

use std::{fmt, net::SocketAddr, sync::Arc};

use weft_model::dataplane::{Criticality, Endpoint, MethodMatch};

pub use crate::reason::Reason;
use crate::retry::RetryStop;

/// A call the data plane itself answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The status code callers see.
    pub code: i32,
    /// What callers read: lower case, no full stop, no secrets.
    pub message: String,
}

impl Failure {
    /// The failure of a call whose deadline has passed.
    pub fn deadline_exceeded() -> Self {
        Self::new(Reason::DeadlineExceeded, "the deadline passed")
    }

    /// A failure with its message and the reason's code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            code: reason.code(),
            message: message.into(),
        }
    }
}

/// The number of a decision, for logs and error details: unique in one process, and between processes
/// as far as their numbers ([`crate::Options::process`]) are. Printed in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DecisionId {
    process: u32,
    count: u64,
}

impl DecisionId {
    /// The ids of one process begin here.
    pub fn first(process: u32) -> Self {
        Self { process, count: 0 }
    }

    /// Moves on to the next id, and returns it.
    pub(crate) fn next(&mut self) -> Self {
        self.count = self.count.wrapping_add(1);
        *self
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.process, self.count)
    }
}

/// An attempt that failed before the call's answer was known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Where it went.
    pub endpoint: Arc<Endpoint>,
    /// What came of it. [`Reason::Answered`]: the endpoint itself answered `code`.
    pub reason: Reason,
    /// Its status code.
    pub code: i32,
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            Reason::Answered => crate::code::name(self.code),
            reason => reason.as_str(),
        };
        write!(f, "{}: {why}", self.endpoint.instance)
    }
}

/// What was decided about one call. Logs, metrics and error details all read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Which decision this is.
    pub id: DecisionId,
    /// The authority that was called, `payments:7070`.
    pub target: Arc<str>,
    /// The path, `/sockshop.payments.v1.PaymentService/Authorize`.
    pub method: Arc<str>,
    /// Inbound, the verified caller.
    pub caller: Option<Arc<str>>,
    /// Inbound, how much the call matters.
    pub criticality: Option<Criticality>,
    /// The method rule that applied: `sockshop.payments.v1.PaymentService/Authorize`, a service, `*`,
    /// or `none`; inbound, the caller rule.
    pub rule: Arc<str>,
    /// The route rule that applied, by name or place. `None`: the target has none that matches.
    pub route: Option<Arc<str>>,
    /// Where the route sent the call, if not to [`Self::target`]: `payments-v2:7070`.
    pub backend: Option<Arc<str>>,
    /// The subset of the backend's endpoints that the route asks for.
    pub subset: Option<Arc<str>>,
    /// The mesh file switches TLS off for where the call goes.
    pub is_cleartext: bool,
    /// The endpoint of the last attempt.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Attempts that may have reached a workload, the first included.
    pub attempts: u32,
    /// How many of [`Self::attempts`] were hedges: begun while another was under way.
    pub hedges: u32,
    /// Attempts that provably reached no workload and were sent elsewhere.
    pub transparent_retries: u32,
    /// The attempts that failed before the last one, at most [`Self::MOST_FAILURES`].
    pub failures: Vec<FailedAttempt>,
    /// Why a failure was not followed by a further attempt.
    pub retry_stop: Option<RetryStop>,
    /// Why the call ended this way.
    pub reason: Reason,
}

impl DecisionRecord {
    /// How many failed attempts are remembered.
    pub const MOST_FAILURES: usize = 8;

    /// A call for which nothing has happened yet. For every call: `default()` would count references to
    /// empty texts up and down.
    pub(crate) fn new(id: DecisionId, target: Arc<str>, method: Arc<str>, rule: Arc<str>) -> Self {
        Self {
            id,
            target,
            method,
            caller: None,
            criticality: None,
            rule,
            route: None,
            backend: None,
            subset: None,
            is_cleartext: false,
            endpoint: None,
            attempts: 0,
            hedges: 0,
            transparent_retries: 0,
            failures: Vec::new(),
            retry_stop: None,
            reason: Reason::Answered,
        }
    }

    /// The last endpoint's workload name, or `-`.
    pub fn instance(&self) -> &str {
        self.endpoint
            .as_ref()
            .map_or("-", |endpoint| &endpoint.instance)
    }

    /// The last endpoint's address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().map(|endpoint| endpoint.address)
    }

    /// Attempts that were repetitions by policy: neither the first nor a hedge.
    pub fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1 + self.hedges)
    }

    pub(crate) fn attempt_failed(&mut self, endpoint: &Arc<Endpoint>, reason: Reason, code: i32) {
        if self.failures.len() < Self::MOST_FAILURES {
            self.failures.push(FailedAttempt {
                endpoint: Arc::clone(endpoint),
                reason,
                code,
            });
        }
    }

    /// The facts of the record, as error details carry them.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("decision", self.id.to_string()),
            ("target", self.target.to_string()),
            ("method", self.method.to_string()),
            ("rule", self.rule.to_string()),
        ];
        let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        add("route", self.route.as_ref().map(ToString::to_string));
        add("backend", self.backend.as_ref().map(ToString::to_string));
        add("subset", self.subset.as_ref().map(ToString::to_string));
        match &self.caller {
            Some(caller) => add("caller", Some(caller.to_string())),
            None => add("attempts", Some(self.attempts.to_string())),
        }
        let endpoint = self.endpoint.as_ref();
        add(
            "endpoint",
            endpoint.map(|endpoint| endpoint.instance.clone()),
        );
        if !self.failures.is_empty() {
            let failures: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
            add("failures", Some(failures.join(", ")));
        }
        add(
            "notRetried",
            self.retry_stop.map(|stop| stop.as_str().to_owned()),
        );
        facts
    }
}

/// How a method rule is called in [`DecisionRecord::rule`].
pub(crate) fn rule_name(matches: &MethodMatch) -> String {
    match (&matches.service, &matches.method) {
        (Some(service), Some(method)) => format!("{service}/{method}"),
        (Some(service), None) => format!("{service}/*"),
        (None, _) => "*".to_owned(),
    }
}
