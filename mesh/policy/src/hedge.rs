//! Hedging by gRFC A6: several attempts of one call under way, the first good answer wins.
//!
//! The next attempt begins a delay after the one before, or at once when one fails with a status that is
//! not fatal. Hedges take from the same tokens and the same budget as retries, and obey pushback.

use std::{sync::Arc, time::Instant};

use weft_model::dataplane::HedgingPolicy;

use crate::retry::MOST_ATTEMPTS;

/// The hedges of one call.
#[derive(Clone, Debug)]
pub(crate) struct HedgeState {
    policy: Arc<HedgingPolicy>,
    /// When the next attempt begins though none has failed.
    next_at: Option<Instant>,
}

impl HedgeState {
    pub(crate) fn new(policy: Arc<HedgingPolicy>) -> Self {
        Self {
            policy,
            next_at: None,
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether an answer with `status` leaves the call open while others are under way.
    pub(crate) fn is_non_fatal(&self, status: i32) -> bool {
        self.policy.non_fatal_status_codes.contains(&status)
    }

    /// Whether one more may follow `attempts`.
    pub(crate) fn allows(&self, attempts: u32) -> bool {
        attempts < self.policy.max_attempts.min(MOST_ATTEMPTS)
    }

    /// The attempt number `attempts` began.
    pub(crate) fn began(&mut self, attempts: u32, now: Instant) {
        let next = now.checked_add(self.policy.hedging_delay);
        self.next_at = next.filter(|_| self.allows(attempts));
    }

    /// The next attempt begins then; `None`: no more of them.
    pub(crate) fn set_next(&mut self, at: Option<Instant>) {
        self.next_at = at;
    }
}
