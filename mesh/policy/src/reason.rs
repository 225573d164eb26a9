//! Why calls end the way they do.

use std::fmt;

use crate::code;

/// Why a call ended the way it did, as in `google.rpc.ErrorInfo.reason` (domain `weft.mesh`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The workload's own answer, whatever its status, or none yet.
    #[default]
    Answered,
    /// The mesh file has no service of that authority.
    UnknownService,
    /// No configuration has come from the control plane yet.
    NoConfiguration,
    /// No certificate has come from the control plane yet.
    NoIdentity,
    /// The service has no endpoint that takes calls.
    NoHealthyEndpoint,
    /// No connection to an endpoint, or its identity was not the expected one.
    UpstreamConnectFailed,
    /// The connection or the stream broke after the request was sent.
    UpstreamReset,
    /// One attempt's time passed without response headers.
    AttemptTimedOut,
    /// A circuit breaker is open: too many connections, waiting calls or calls.
    CircuitBreakerOpen,
    /// A rate limit of the workload is exhausted.
    RateLimited,
    /// The workload has all it can carry, and others matter more.
    Overloaded,
    /// The mesh file asks for this failure.
    FaultInjected,
    /// The endpoint's answer was no valid gRPC response.
    UpstreamProtocolError,
    /// All connections to the endpoint are full.
    TooManyStreams,
    /// The deadline passed.
    DeadlineExceeded,
    /// No caller rule allows it.
    CallerNotAllowed,
    /// The sidecar cannot reach the workload beside it.
    WorkloadUnreachable,
    /// The request is not one a gRPC client sends.
    BadRequest,
    /// The caller went away.
    Cancelled,
}

impl Reason {
    /// The name on the wire, `NO_HEALTHY_ENDPOINT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ANSWERED",
            Self::UnknownService => "UNKNOWN_SERVICE",
            Self::NoConfiguration => "NO_CONFIGURATION",
            Self::NoIdentity => "NO_IDENTITY",
            Self::NoHealthyEndpoint => "NO_HEALTHY_ENDPOINT",
            Self::UpstreamConnectFailed => "UPSTREAM_CONNECT_FAILED",
            Self::UpstreamReset => "UPSTREAM_RESET",
            Self::AttemptTimedOut => "ATTEMPT_TIMED_OUT",
            Self::CircuitBreakerOpen => "CIRCUIT_BREAKER_OPEN",
            Self::RateLimited => "RATE_LIMITED",
            Self::Overloaded => "OVERLOADED",
            Self::FaultInjected => "FAULT_INJECTED",
            Self::UpstreamProtocolError => "UPSTREAM_PROTOCOL_ERROR",
            Self::TooManyStreams => "TOO_MANY_STREAMS",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::CallerNotAllowed => "CALLER_NOT_ALLOWED",
            Self::WorkloadUnreachable => "WORKLOAD_UNREACHABLE",
            Self::BadRequest => "BAD_REQUEST",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status code that goes with it.
    pub fn code(self) -> i32 {
        match self {
            Self::Answered => code::OK,
            Self::UnknownService => code::UNIMPLEMENTED,
            Self::NoConfiguration
            | Self::NoIdentity
            | Self::NoHealthyEndpoint
            | Self::UpstreamConnectFailed
            | Self::UpstreamReset
            | Self::AttemptTimedOut
            | Self::CircuitBreakerOpen
            | Self::Overloaded
            | Self::FaultInjected
            | Self::WorkloadUnreachable => code::UNAVAILABLE,
            Self::TooManyStreams | Self::RateLimited => code::RESOURCE_EXHAUSTED,
            Self::DeadlineExceeded => code::DEADLINE_EXCEEDED,
            Self::CallerNotAllowed => code::PERMISSION_DENIED,
            Self::UpstreamProtocolError => code::INTERNAL,
            Self::BadRequest => code::INVALID_ARGUMENT,
            Self::Cancelled => code::CANCELLED,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
