//! Balancing per request: the less loaded of two random endpoints.

use std::time::{Duration, Instant};

use rand::Rng;

/// What one endpoint has to do, and how fast it answers.
#[derive(Clone, Debug, Default)]
pub struct Load {
    in_flight: u32,
    /// A moving average of the time to response headers, in seconds, and when it was last changed.
    latency: Option<(f64, Instant)>,
}

/// A sample this old weighs a third of a new one.
const MEMORY: Duration = Duration::from_secs(10);

/// Endpoints whose answers take less than this many times as long as another's count as equally fast.
/// Without it, with few calls at a time, noise would send every call to the same endpoint.
const NOTABLY_SLOWER: f64 = 2.0;

impl Load {
    /// A request is sent to the endpoint.
    pub fn started(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A request is over, however it ended.
    pub fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Response headers came after `latency`. Failures are not observed: an endpoint that fails fast
    /// must not look fast.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let sample = latency.as_secs_f64();
        let average = match self.latency {
            None => sample,
            Some((average, at)) => {
                let age = now.saturating_duration_since(at).as_secs_f64();
                // Many samples within a moment still move the average, each by a tenth.
                let keep = (-age / MEMORY.as_secs_f64()).exp().min(0.9);
                average * keep + sample * (1.0 - keep)
            }
        };
        self.latency = Some((average, now));
    }

    /// Requests that are not over.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether `self` should get a request rather than `other`. Equals are not preferred.
    fn is_lighter_than(&self, other: &Self) -> bool {
        let (own, others) = self.relative_latency(other);
        f64::from(self.in_flight + 1) * own < f64::from(other.in_flight + 1) * others
    }

    fn relative_latency(&self, other: &Self) -> (f64, f64) {
        match (self.latency, other.latency) {
            (Some((own, _)), Some((others, _)))
                if own > others * NOTABLY_SLOWER || others > own * NOTABLY_SLOWER =>
            {
                (own.max(1e-6), others.max(1e-6))
            }
            _ => (1.0, 1.0),
        }
    }
}

/// Picks one of `candidates`, indices into `loads`: the lighter of two random ones, or a random one of
/// both where neither is lighter. `None` if there is no candidate.
pub fn pick<'a>(
    candidates: &[usize],
    load: impl Fn(usize) -> &'a Load,
    rng: &mut (impl Rng + ?Sized),
) -> Option<usize> {
    match candidates {
        [] => None,
        &[only] => Some(only),
        _ => {
            let first = rng.random_range(0..candidates.len());
            let mut second = rng.random_range(0..candidates.len() - 1);
            if second >= first {
                second += 1;
            }
            let (first, second) = (candidates[first], candidates[second]);
            let second_wins = load(second).is_lighter_than(load(first));
            Some(if second_wins { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn run(loads: &mut [Load], picks: usize, keep_open: bool, seed: u64) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let candidates: Vec<usize> = (0..loads.len()).collect();
        let mut counts = vec![0; loads.len()];
        for _ in 0..picks {
            let chosen = pick(&candidates, |index| &loads[index], &mut rng).expect("not empty");
            counts[chosen] += 1;
            if keep_open {
                loads[chosen].started();
            }
        }
        counts
    }

    #[test]
    fn a_notably_slower_endpoint_gets_less_and_a_slightly_slower_one_does_not() {
        let now = Instant::now();
        let mut loads = vec![Load::default(); 2];
        loads[0].observe(Duration::from_millis(10), now);
        loads[1].observe(Duration::from_millis(100), now);
        let counts = run(&mut loads, 1000, false, 7);
        assert_eq!(counts[1], 0, "{counts:?}");

        let mut loads = vec![Load::default(); 2];
        loads[0].observe(Duration::from_millis(10), now);
        loads[1].observe(Duration::from_millis(15), now);
        let counts = run(&mut loads, 1000, false, 7);
        assert!(counts[1] > 400, "{counts:?}");
    }

    #[test]
    fn a_slow_moment_is_forgotten() {
        let now = Instant::now();
        let mut load = Load::default();
        load.observe(Duration::from_secs(1), now);
        let later = now + MEMORY * 5;
        load.observe(Duration::from_millis(1), later);
        let (average, _) = load.latency.expect("observed");
        assert!(average < 0.02, "{average}");
    }

    proptest! {
        #[test]
        fn open_requests_spread_evenly(endpoints in 1usize..12, seed in any::<u64>()) {
            let mut loads = vec![Load::default(); endpoints];
            let counts = run(&mut loads, endpoints * 100, true, seed);
            // Two choices keep the largest within a few of the mean.
            for count in counts {
                prop_assert!((85..=115).contains(&count), "{count}");
            }
        }

        #[test]
        fn requests_one_after_another_reach_every_endpoint(endpoints in 2usize..8, seed in any::<u64>()) {
            let mut loads = vec![Load::default(); endpoints];
            let counts = run(&mut loads, endpoints * 200, false, seed);
            for count in counts {
                prop_assert!((120..=280).contains(&count), "{count}");
            }
        }
    }
}
