//! One outbound call while it is under way, and the words executor and engine exchange about it.
//!
//! The executor's loop: [`Engine::admit`] once; [`Engine::pick`] for each attempt; send it, unless
//! [`Attempt::fault`] says otherwise; report what came back with [`Engine::attempt_ended`] and do what
//! [`Next`] says; [`Engine::release`] each attempt when its stream is over; [`Engine::finished`] once.
//! While no answer has come, [`Call::hedge_at`] says when to pick another attempt besides.
//!
//! [`Engine::admit`]: crate::Engine::admit
//! [`Engine::pick`]: crate::Engine::pick
//! [`Engine::attempt_ended`]: crate::Engine::attempt_ended
//! [`Engine::release`]: crate::Engine::release
//! [`Engine::finished`]: crate::Engine::finished

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use weft_model::dataplane::{Backend, Endpoint, HeaderChanges};

use crate::{
    breaker::Kind,
    code,
    deadline::Deadline,
    hedge::HedgeState,
    record::{DecisionRecord, Failure},
    resolve::Route,
    retry::{Pushback, RetryState},
    slab::Id,
};

/// One call while it is under way.
#[derive(Debug)]
pub struct Call {
    /// What has been decided so far.
    pub record: DecisionRecord,
    /// When the call ends.
    pub deadline: Deadline,
    /// Who gets a copy of the request: a call of its own, by [`crate::Engine::admit_copy`], whose
    /// answer is dropped. Mostly empty.
    pub copies: Vec<Backend>,
    pub(crate) retry: RetryState,
    /// Instead of retries.
    pub(crate) hedge: Option<HedgeState>,
    /// The target that was called: its rules and its tokens.
    pub(crate) owner: Id,
    /// The target it goes to: its endpoints and its breakers.
    pub(crate) backend: Id,
    pub(crate) route: Option<Arc<Route>>,
    /// Where the call is on the ring of a backend that has one.
    pub(crate) hash: Option<u64>,
    /// Attempts that have not ended, by endpoint and start.
    pub(crate) under_way: SmallVec<[(Id, Instant); 2]>,
    /// The endpoint whose response headers were forwarded.
    pub(crate) committed: Option<Id>,
    /// [`crate::Engine::finished`] was told.
    pub(crate) is_over: bool,
    /// The call holds a place among the retries for its next attempt.
    pub(crate) holds_retry: bool,
    /// This hop has done what retries can do.
    pub(crate) is_spent: bool,
    /// Endpoints that failed this call since all had been tried.
    pub(crate) avoid: Vec<Id>,
    /// Since when no endpoint could take the call.
    pub(crate) held_since: Option<Instant>,
    /// How often every endpoint was tried in vain.
    pub(crate) rounds: u32,
    pub(crate) last_failure: Option<Failure>,
}

/// Of a call without a route.
static NO_CHANGES: HeaderChanges = HeaderChanges {
    set: Vec::new(),
    add: Vec::new(),
    remove: Vec::new(),
};

impl Call {
    /// Done to the request headers of every attempt.
    pub fn request_headers(&self) -> &HeaderChanges {
        let route = self.route.as_ref();
        route.map_or(&NO_CHANGES, |route| &route.request_headers)
    }

    /// Done to the response headers.
    pub fn response_headers(&self) -> &HeaderChanges {
        let route = self.route.as_ref();
        route.map_or(&NO_CHANGES, |route| &route.response_headers)
    }

    /// While no answer has come: when [`crate::Engine::pick`] should be asked for another attempt
    /// although one is under way (gRFC A6 hedging). `None`: not, or no more. Only a request that can be
    /// sent again from its first byte can be hedged: whoever cannot does not ask.
    pub fn hedge_at(&self) -> Option<Instant> {
        let hedge = self.hedge.as_ref().filter(|_| self.committed.is_none())?;
        hedge.next_at().filter(|_| !self.under_way.is_empty())
    }

    /// Whether a further attempt may ever be made, so that the request is worth keeping. Also without
    /// a retry policy an attempt that reached nobody is repeated.
    pub fn may_repeat(&self) -> bool {
        self.committed.is_none() && !self.is_over
    }

    /// Whether this hop has done what retries can do, and the call failed all the same. The failed
    /// answer then carries `grpc-retry-pushback-ms: -1`, and [`crate::retry::RetryMarks`] remembers it,
    /// so that hops before this one do not multiply the load.
    pub fn retries_are_spent(&self) -> bool {
        self.is_spent
    }

    /// Whether the method's policy repeats `status`.
    pub(crate) fn is_retryable(&self, status: i32) -> bool {
        match &self.hedge {
            Some(hedge) => hedge.is_non_fatal(status),
            None => self.retry.is_retryable(status),
        }
    }

    /// Whether attempts are under way.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(crate) fn attempt_is_over(&mut self, attempt: &Attempt) {
        let ended = (attempt.member, attempt.started);
        if let Some(index) = self.under_way.iter().position(|&other| other == ended) {
            self.under_way.swap_remove(index);
        }
    }
}

/// One attempt at one endpoint. Given back by [`crate::Engine::release`], however it ends.
#[derive(Debug)]
pub struct Attempt {
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// The SPIFFE ID the endpoint must prove. `None`: the mesh file switches TLS off for the target.
    pub identity: Option<Arc<str>>,
    /// Attempts of this call before it that may have been seen: the value of
    /// `grpc-previous-rpc-attempts`; 0 means no header.
    pub previous_attempts: u32,
    /// What is done to it in place of sending it.
    pub fault: AttemptFault,
    /// Without response headers by then it has failed: [`Outcome::TimedOut`].
    pub times_out_at: Option<Instant>,
    /// When it was picked.
    pub started: Instant,
    /// The target it is an attempt at, which routing may have chosen: not always the call's authority.
    pub target: Arc<str>,
    pub(crate) cluster: Id,
    pub(crate) member: Id,
    /// It has a place among the retries.
    pub(crate) holds_retry: bool,
}

/// Injected into an attempt: first the delay, then the abort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptFault {
    /// Wait so long before sending.
    pub delay: Option<Duration>,
    /// Do not send: the attempt ended with this status, [`Outcome::TrailersOnly`].
    pub abort: Option<i32>,
}

/// Where the next attempt goes.
#[derive(Debug)]
pub enum Pick {
    /// To an endpoint.
    Attempt(Attempt),
    /// Nowhere yet: ask again at this instant, or when the configuration changes.
    Wait(Instant),
    /// Nowhere: answer this, unless other attempts are under way.
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
    /// No response headers came by [`Attempt::times_out_at`].
    TimedOut,
}

impl Outcome {
    /// The gRPC status that the attempt alone would give its caller.
    pub fn status(&self) -> i32 {
        match self {
            Self::Headers => code::OK,
            Self::TrailersOnly { code, .. } => *code,
            Self::Broken(failure) => failure.code,
            Self::ConnectFailed(_) | Self::Unreached(_) | Self::Refused(_) | Self::TimedOut => {
                code::UNAVAILABLE
            }
        }
    }
}

/// The circumstances of an attempt's end.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    /// Whether the request can be sent again from its first byte.
    pub is_replayable: bool,
    /// When it ended.
    pub now: Instant,
}

/// What the executor does after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forward the attempt's answer; cancel the other attempts, if there are any.
    Forward,
    /// Ask for an endpoint again at this instant.
    RetryAt(Instant),
    /// Wait for the other attempts that are under way, and for [`Call::hedge_at`].
    Await,
    /// Give up: forward the attempt's answer if it had one, or answer this.
    Fail(Failure),
}

/// What an endpoint says of its load in `endpoint-load-metrics` (ORCA, gRFC A51).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Of the application, or of the CPU where that is unknown: 0 is idle, 1 is full.
    pub utilization: f64,
    /// Queries per second.
    pub rps: f64,
    /// Errors per second.
    pub eps: f64,
}

/// A place among what circuit breakers count, given back when it is free again.
#[derive(Debug)]
pub struct Slot {
    pub(crate) cluster: Id,
    pub(crate) kind: Kind,
}
