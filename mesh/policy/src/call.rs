//! One call while it is under way, and the words executor and engine exchange about it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use weft_model::dataplane::Endpoint;

use crate::{
    deadline::Deadline,
    record::{DecisionRecord, Failure},
    retry::{Pushback, RetryState},
};

/// The facts of a request that outbound decisions depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts<'a> {
    /// `:authority`, `payments:7070`.
    pub authority: &'a str,
    /// `:path`, `/sockshop.payments.v1.PaymentService/Authorize`.
    pub path: &'a str,
    /// The value of `grpc-timeout`.
    pub grpc_timeout: Option<&'a str>,
    /// Whether the caller repeats calls itself: the request carries `grpc-previous-rpc-attempts`.
    pub is_retry: bool,
}

/// One call while it is under way.
#[derive(Debug)]
pub struct Call {
    /// What has been decided so far.
    pub record: DecisionRecord,
    /// When the call ends.
    pub deadline: Deadline,
    pub(crate) retry: RetryState,
    /// Response headers were forwarded.
    pub(crate) is_committed: bool,
    /// Endpoints that failed this call since all had been tried.
    pub(crate) avoid: Vec<SocketAddr>,
    /// Since when no endpoint could take the call.
    pub(crate) held_since: Option<Instant>,
    /// How often every endpoint was tried in vain.
    pub(crate) rounds: u32,
    pub(crate) last_failure: Option<Failure>,
}

impl Call {
    /// The value of `grpc-previous-rpc-attempts` for the coming attempt; 0 means no header.
    pub fn previous_attempts(&self) -> u32 {
        self.retry.previous_attempts()
    }
}

/// Where the next attempt goes.
#[derive(Debug)]
pub enum Pick {
    /// To this endpoint. The executor must call [`Engine::release`] once when the attempt is over.
    Endpoint(Endpoint),
    /// Nowhere yet: ask again at this instant, or when the configuration changes.
    Wait(Instant),
    /// Nowhere: answer this.
    Fail(Failure),
}

/// How an attempt ended, as far as the caller has not seen anything of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Response headers that a stream follows. They are forwarded: the call is committed.
    Headers,
    /// A status without a stream (trailers-only).
    TrailersOnly {
        /// `grpc-status`.
        code: i32,
        /// `grpc-retry-pushback-ms`.
        pushback: Pushback,
    },
    /// No connection, or one to somebody else than the target. Nothing was sent.
    ConnectFailed(String),
    /// The endpoint's sidecar could not hand the request to its workload.
    Unreached(String),
    /// The connection was closing or full: the peer says it has not processed the stream.
    Refused(String),
    /// The stream or the connection broke after the request was sent, or the answer made no sense.
    Broken(Failure),
}

/// The circumstances of an attempt's end.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    /// From the start of the attempt to response headers or its failure.
    pub latency: Duration,
    /// Whether the request can be sent again from its first byte.
    pub is_replayable: bool,
    /// When it ended.
    pub now: Instant,
}

/// What the executor does after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forward the attempt's answer.
    Forward,
    /// Ask for an endpoint again at this instant.
    RetryAt(Instant),
    /// Give up: forward the attempt's answer if it had one, or answer this.
    Fail(Failure),
}
