//! Exponential backoff with jitter, and how long an endpoint that refuses connections is left alone.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngCore};

/// The wait before the `n`-th repetition, counted from 1: `initial` times `multiplier_permille` per
/// repetition, at most `max`, jittered by 20 % either way (gRFC A6).
pub fn exponential(
    initial: Duration,
    multiplier_permille: u32,
    max: Duration,
    n: u32,
    rng: &mut dyn RngCore,
) -> Duration {
    let factor = (f64::from(multiplier_permille) / 1000.0).powi(n.saturating_sub(1).min(64) as i32);
    let wait = (initial.as_secs_f64() * factor).min(max.as_secs_f64());
    Duration::from_secs_f64(wait * rng.random_range(0.8..1.2))
}

/// Connection failures in a row of one endpoint.
///
/// The waits are short (25 ms to 500 ms): a connection attempt on loopback or inside a cluster costs
/// little, and a workload that comes back should get calls at once.
#[derive(Clone, Debug, Default)]
pub struct ConnectBackoff {
    failures: u32,
    until: Option<Instant>,
}

impl ConnectBackoff {
    /// The first wait.
    pub const INITIAL: Duration = Duration::from_millis(25);
    /// The longest wait, before jitter.
    pub const MAX: Duration = Duration::from_millis(500);

    /// A connection could not be made.
    pub fn failed(&mut self, now: Instant, rng: &mut dyn RngCore) {
        self.failures = self.failures.saturating_add(1);
        let wait = exponential(Self::INITIAL, 2000, Self::MAX, self.failures, rng);
        self.until = Some(now + wait);
    }

    /// The endpoint answered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Until when the endpoint is left alone. `None`: it may be tried.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|&until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_within_the_jitter() {
        let mut rng = StdRng::seed_from_u64(1);
        let (initial, max) = (Duration::from_millis(100), Duration::from_millis(450));
        for (n, expected) in [(1, 100.0), (2, 200.0), (3, 400.0), (4, 450.0), (90, 450.0)] {
            for _ in 0..50 {
                let wait = exponential(initial, 2000, max, n, &mut rng).as_secs_f64() * 1000.0;
                assert!(
                    wait >= expected * 0.79 && wait <= expected * 1.21,
                    "{n}: {wait}"
                );
            }
        }
    }

    #[test]
    fn an_endpoint_is_left_alone_until_its_wait_is_over_and_forgiven_by_a_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        let mut backoff = ConnectBackoff::default();
        assert_eq!(backoff.until(now), None);
        backoff.failed(now, &mut rng);
        let until = backoff.until(now).expect("it has just failed");
        assert_eq!(backoff.until(until), None);
        backoff.failed(now, &mut rng);
        backoff.succeeded();
        assert_eq!(backoff.until(now), None);
    }
}
