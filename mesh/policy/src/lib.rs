//! The decision engine of the data plane: what happens to a call, and why.
//!
//! The engine does no I/O, reads no clock and owns no randomness: the executor that moves the bytes
//! (`weft-proxy` for frames, `weft-channel` for tonic) passes the instant and a random source, so that a
//! thousand scenarios run in virtual time in a second. Two facades, driven as [`Call`] describes:
//!
//! - [`Engine`], outbound: route, deadline, balance, retry or hedge, and the accounts of every endpoint
//! - [`InboundEngine`]: caller rules, rate limits, load shedding
//!
//! Behind them, each part usable and tested alone:
//!
//! - [`authorize()`]: may this caller call this method (gRFC A43, default deny)
//! - [`deadline`]: `grpc-timeout` minus the time spent; it only ever shrinks
//! - `resolve`, `fault`: `GRPCRoute` rules, mirrors, and failures on purpose behind the retry stage
//! - [`retry`], `hedge`: gRFC A6 with budget, pushback and transparent retries, at one hop of a tree only
//! - `breaker`: Envoy's circuit breakers and retry budget
//! - `cluster`: which endpoints may be used, by priority, distance and health (Envoy's spill-over, panic)
//! - [`balance`]: peak EWMA, round robin, gRFC A58, Envoy's ring, pick first
//! - [`outlier`], `health`: leaving out endpoints that fail, by their calls (gRFC A50) or by probes
//! - [`backoff`]: how long an endpoint that refuses connections is left alone
//! - `limit`, `shed`: token buckets, and a concurrency limit that follows latency
//! - [`record`]: the one truth about why a call went where it went
//!
//! Decisions stand on the path of every call. Paths and callers are looked up once and remembered;
//! members are found by number; the list of usable endpoints is made when something changes. A whole
//! call costs about 250 ns and no memory beyond the [`Call`] itself (`examples/cost.rs`).
//!
//! It leaves to others: connections and bodies (`weft-channel`, `weft-proxy`), where the rules come from
//! (`weft-xds`, `weft-model`), resolving names ([`Engine::dns_names`]) and making probes
//! ([`Engine::probes_due`]).

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

/// How many bytes of a request are kept for a retry, as many as Linkerd keeps. A longer request is
/// sent once.
pub const REPLAY_LIMIT_BYTES: usize = 64 * 1024;

/// How long a call is held back while no endpoint can take it: none is registered, or each one refused
/// the connection or answered that the request never reached its workload. Restarts and rolling
/// updates pass unnoticed within it; the call's deadline may end it sooner.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
