//! Least request: the cheaper of two random endpoints.
//!
//! Cost is latency times requests under way, plus one. The latency is Finagle's and Linkerd's *peak*
//! EWMA: a slower answer than the average counts in full at once, a faster one by its age; so an
//! endpoint that turns slow is avoided after one answer and trusted again only slowly. While no answers
//! come the average decays, so that an endpoint that was slow gets a call to prove itself.
//!
//! Two rules differ from theirs. Latencies within a factor of `NOTABLY_SLOWER` count as equal:
//! otherwise noise would send every call to one endpoint while few are under way. And an endpoint
//! without an average counts as fast as the one it is compared with: it gets its share from its first
//! second and no more than that.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngCore};

/// What one endpoint has to do, and how fast it answers.
#[derive(Clone, Debug, Default)]
pub struct Load {
    in_flight: u32,
    latency: Latency,
}

#[derive(Clone, Copy, Debug, Default)]
enum Latency {
    #[default]
    Unknown,
    /// The first answer. It contains the making of the connection, so it is not yet believed.
    First(f64),
    /// Seconds, and when they were last changed.
    Average(f64, Option<Instant>),
}

/// A sample this old weighs a third of a new one (Finagle's and Linkerd's default).
const MEMORY: Duration = Duration::from_secs(10);

/// Endpoints whose answers take less than this many times as long as another's count as equally fast.
const NOTABLY_SLOWER: f64 = 1.5;

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
        self.latency = match self.latency {
            Latency::Unknown => Latency::First(sample),
            Latency::First(first) => Latency::Average(first.min(sample), Some(now)),
            Latency::Average(average, at) => {
                let keep = decay(at, now);
                // The peak is compared with what is left of the average, as readers see it.
                let left = average * keep;
                let new = if sample >= left {
                    sample
                } else {
                    // Many samples within a moment still move the average, each by a tenth.
                    let keep = keep.min(0.9);
                    average * keep + sample * (1.0 - keep)
                };
                Latency::Average(new, Some(now))
            }
        };
    }

    /// A request has been under way for `elapsed` without an answer: it is at least that slow.
    pub fn observe_at_least(&mut self, elapsed: Duration, now: Instant) {
        let sample = elapsed.as_secs_f64();
        match self.latency {
            Latency::Unknown | Latency::First(_) => {
                self.latency = Latency::Average(sample, Some(now));
            }
            Latency::Average(average, at) if sample > average * decay(at, now) => {
                self.latency = Latency::Average(sample, Some(now));
            }
            Latency::Average(..) => {}
        }
    }

    /// Requests that are not over.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The time to response headers that is expected now.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let seconds = match self.latency {
            Latency::Average(average, at) => average * decay(at, now),
            Latency::First(_) | Latency::Unknown => return None,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn seconds(&self, now: Instant) -> Option<f64> {
        match self.latency {
            Latency::Average(average, at) => Some((average * decay(at, now)).max(1e-6)),
            Latency::First(_) | Latency::Unknown => None,
        }
    }

    /// Whether `self` should get a request rather than `other`. Equals are not preferred.
    fn is_lighter_than(&self, other: &Self, now: Instant) -> bool {
        let (own, others) = match (self.seconds(now), other.seconds(now)) {
            (Some(own), Some(others))
                if own > others * NOTABLY_SLOWER || others > own * NOTABLY_SLOWER =>
            {
                (own, others)
            }
            _ => (1.0, 1.0),
        };
        let cost = |seconds: f64, load: &Self| seconds * (f64::from(load.in_flight) + 1.0);
        cost(own, self) < cost(others, other)
    }
}

/// What is left of an average after the time since `at`.
fn decay(at: Option<Instant>, now: Instant) -> f64 {
    let age = at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
    // Most calls follow each other within milliseconds; the exponential would be all that costs.
    if age < Duration::from_millis(10) {
        return 1.0;
    }
    (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

/// Picks one of `candidates`: the lighter of two random ones, or a random one of both where neither is
/// lighter. `None` if there is no candidate.
pub fn pick<'a>(
    candidates: &[u32],
    load: impl Fn(u32) -> Option<&'a Load>,
    now: Instant,
    rng: &mut dyn RngCore,
) -> Option<u32> {
    let count = u32::try_from(candidates.len()).ok()?;
    match count {
        0 => return None,
        1 => return candidates.first().copied(),
        _ => {}
    }
    // Both places from one draw; numbers are far below the range, so the bias is nothing.
    let drawn: u64 = rng.random();
    let first = place(drawn >> 32, count);
    let mut second = place(drawn & 0xffff_ffff, count - 1);
    second += usize::from(second >= first);
    let (first, second) = (*candidates.get(first)?, *candidates.get(second)?);
    let second_wins = load(second)?.is_lighter_than(load(first)?, now);
    Some(if second_wins { second } else { first })
}

/// Maps 32 random bits to `0..count`.
fn place(bits: u64, count: u32) -> usize {
    ((bits * u64::from(count)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn run(loads: &mut [Load], picks: usize, keep_open: bool, seed: u64, now: Instant) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let candidates: Vec<u32> = (0..loads.len() as u32).collect();
        let mut counts = vec![0; loads.len()];
        for _ in 0..picks {
            let chosen = pick(
                &candidates,
                |index| loads.get(index as usize),
                now,
                &mut rng,
            );
            let chosen = chosen.expect("not empty") as usize;
            counts[chosen] += 1;
            if keep_open {
                loads[chosen].started();
            }
        }
        counts
    }

    fn known(millis: u64, now: Instant) -> Load {
        let mut load = Load::default();
        load.observe(Duration::from_secs(5), now);
        load.observe(Duration::from_millis(millis), now);
        load
    }

    #[test]
    fn a_notably_slower_endpoint_gets_less_and_a_slightly_slower_one_does_not() {
        let now = Instant::now();
        let mut loads = vec![known(10, now), known(100, now)];
        let counts = run(&mut loads, 1000, false, 7, now);
        assert_eq!(counts[1], 0, "{counts:?}");

        let mut loads = vec![known(10, now), known(14, now)];
        let counts = run(&mut loads, 1000, false, 7, now);
        assert!(counts[1] > 400, "{counts:?}");
    }

    #[test]
    fn one_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let now = Instant::now();
        let mut load = known(10, now);
        load.observe(Duration::from_secs(1), now);
        assert_eq!(load.latency(now), Some(Duration::from_secs(1)));
        load.observe(Duration::from_millis(10), now);
        assert!(load.latency(now) > Some(Duration::from_millis(890)));
        let later = now + MEMORY * 5;
        assert!(load.latency(later) < Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_first_answer_of_an_endpoint_is_not_believed() {
        let now = Instant::now();
        let mut load = Load::default();
        load.observe(Duration::from_millis(80), now);
        assert_eq!(load.latency(now), None);
        load.observe(Duration::from_millis(2), now);
        assert_eq!(load.latency(now), Some(Duration::from_millis(2)));
    }

    #[test]
    fn a_new_endpoint_gets_its_share_and_no_more() {
        let now = Instant::now();
        let mut loads = vec![known(10, now), known(10, now), Load::default()];
        let counts = run(&mut loads, 3000, true, 7, now);
        assert!((900..1100).contains(&counts[2]), "{counts:?}");
    }

    proptest! {
        #[test]
        fn open_requests_spread_evenly(endpoints in 1usize..12, seed in any::<u64>()) {
            let mut loads = vec![Load::default(); endpoints];
            let counts = run(&mut loads, endpoints * 100, true, seed, Instant::now());
            // Two choices keep the largest within a few of the mean.
            for count in counts {
                prop_assert!((85..=115).contains(&count), "{count}");
            }
        }

        #[test]
        fn requests_one_after_another_reach_every_endpoint(endpoints in 2usize..8, seed in any::<u64>()) {
            let mut loads = vec![Load::default(); endpoints];
            let counts = run(&mut loads, endpoints * 200, false, seed, Instant::now());
            for count in counts {
                prop_assert!((120..=280).contains(&count), "{count}");
            }
        }
    }
}
