//! Faults that the mesh file asks for, done to single attempts.
//!
//! They stand behind the retry stage (Envoy's stand before it), so that a retry or hedging policy meets
//! them as it would meet a failing endpoint. They say nothing about the endpoint: its accounts are left
//! alone.

use rand::{Rng as _, RngCore};
use weft_model::dataplane::Fault;

use crate::call::AttemptFault;

/// What happens to the `attempt`-th attempt of a call, counted from 1.
pub(crate) fn draw(fault: &Fault, attempt: u32, rng: &mut dyn RngCore) -> AttemptFault {
    let delay = fault.delay.as_ref();
    let delay = delay.filter(|delay| is_within(delay.share_per_100_000, rng));
    let abort = fault.abort.as_ref();
    let abort = abort
        .filter(|abort| abort.first_attempts.is_none_or(|first| attempt <= first))
        .filter(|abort| is_within(abort.share_per_100_000, rng));
    AttemptFault {
        delay: delay.map(|delay| delay.fixed_delay),
        abort: abort.map(|abort| abort.grpc_status),
    }
}

/// Chance: whether this one is of the share, in thousandths of a percent.
pub(crate) fn is_within(share_per_100_000: u32, rng: &mut dyn RngCore) -> bool {
    match share_per_100_000 {
        0 => false,
        100_000.. => true,
        share => rng.random_range(0..100_000) < share,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::StdRng};
    use weft_model::dataplane::{FaultAbort, FaultDelay};

    use super::*;

    #[test]
    fn the_first_two_attempts_fail_and_the_third_passes() {
        let abort = FaultAbort {
            grpc_status: 14,
            share_per_100_000: 100_000,
            first_attempts: Some(2),
        };
        let fault = Fault {
            abort: Some(abort),
            delay: None,
        };
        let mut rng = StdRng::seed_from_u64(1);
        let aborts = [1, 2, 3].map(|attempt| draw(&fault, attempt, &mut rng).abort);
        assert_eq!(aborts, [Some(14), Some(14), None]);
    }

    #[test]
    fn a_share_is_kept_to() {
        let delay = FaultDelay {
            fixed_delay: Duration::from_millis(5),
            share_per_100_000: 25_000,
        };
        let fault = Fault {
            delay: Some(delay),
            abort: None,
        };
        let mut rng = StdRng::seed_from_u64(1);
        let hit = (0..10_000).filter(|_| draw(&fault, 1, &mut rng).delay.is_some());
        assert!((2300..2700).contains(&hit.count()));
    }
}
