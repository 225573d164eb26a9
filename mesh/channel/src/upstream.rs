//! The parts of a channel below its decisions, for the sidecar's inbound side, which has one upstream:
//! the workload beside it.

pub use crate::{
    attempt::{Answer, send},
    metrics::Methods,
    pool::{Key, Lease, Pool},
    replay::{AttemptBody, Replay},
    response::{CallEnd, StatusBody},
};
