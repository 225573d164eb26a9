//! The decision engine of the data plane: what happens to a call, and why.
//!
//! The engine does no I/O, reads no clock and owns no randomness: the executor that moves the bytes
//! (`weft-channel` today) passes the instant and a random source, so that a thousand scenarios run in
//! virtual time in a second. Start reading at [`Engine`], which strings the parts together for one
//! call; each part is usable alone:
//!
//! - [`authorize`]: may this caller call this method (gRFC A43, default deny)
//! - [`deadline`]: `grpc-timeout` minus the time spent; it only ever shrinks
//! - [`retry`]: gRFC A6 with budget, pushback and transparent retries
//! - [`balance`]: the less loaded of two random endpoints, per request
//! - [`outlier`]: leaving out endpoints that keep failing
//! - [`backoff`]: how long an endpoint that refuses connections is left alone
//! - [`record`]: the one truth about why a call went where it went
//!
//! It leaves to others: connections and bodies (`weft-channel`), listeners (`weft-proxy`), where the
//! rules come from (`weft-xds`, `weft-model`).

pub mod authorize;
pub mod backoff;
pub mod balance;
mod breaker;
mod call;
mod cluster;
pub mod code;
pub mod deadline;
mod engine;
mod facts;
mod fault;
mod health;
mod hedge;
mod inbound;
mod limit;
mod matcher;
pub mod outlier;
mod reason;
pub mod record;
mod resolve;
pub mod retry;
mod shed;
mod slab;

pub use crate::{
    authorize::{Decision, authorize},
    call::{Attempt, AttemptEnd, AttemptFault, Call, LoadReport, Next, Outcome, Pick, Slot},
    engine::{ClusterStatus, EndpointStatus, Engine, Options},
    facts::{Headers, InboundFacts, NoHeaders, RequestFacts},
    health::Probe,
    inbound::{Admission, InboundEngine, InboundStatus, RateLimitStatus, Refusal, RetryAdvice},
    record::{DecisionId, DecisionRecord, Failure, Reason},
};

/// How many bytes of a request are kept for a retry. A longer request is sent once.
pub const REPLAY_LIMIT_BYTES: usize = 256 * 1024;

/// How long a call is held back while no endpoint can take it: none is registered, or each one refused
/// the connection or answered that the request never reached its workload. Restarts and rolling
/// updates pass unnoticed within it; the call's deadline may end it sooner.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
