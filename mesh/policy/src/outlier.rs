//! Outlier detection: an endpoint that keeps failing gets no calls for a while.
//!
//! Envoy's and gRFC A50's: failures in a row eject at once; once per interval the rates of all endpoints
//! are compared ([`rates`]). An ejection lasts the base time times the number of ejections so far, up to
//! the longest; every interval in which an endpoint is not ejected takes one off that number.
//!
//! How many: at most `max_ejection_percent` of the endpoints, but one of two or more may always be
//! ejected where the percentage is not 0: the default of 10 % would otherwise protect nobody who has
//! fewer than ten replicas. (A50 goes further and ejects until the percentage is exceeded; Envoy ejects
//! one regardless only when told to.) A single endpoint is never ejected.

use std::time::{Duration, Instant};

use weft_model::dataplane::OutlierDetection;

mod ejections;
pub mod rates;

pub use ejections::{Detector, Ejections};

/// The failures and ejections of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    consecutive_errors: u32,
    /// How many times the base ejection time the next ejection lasts, less one.
    multiplier: u32,
    ejected_until: Option<Instant>,
    /// What came back in this interval.
    pub(crate) successes: u32,
    pub(crate) failures: u32,
}

impl Outlier {
    /// Whether the endpoint is left out.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| until > now)
    }

    /// Until when it is left out. `None`: it is not.
    pub fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.ejected_until.filter(|&until| until > now)
    }

    /// The endpoint answered.
    pub fn succeeded(&mut self) {
        self.consecutive_errors = 0;
        self.successes = self.successes.saturating_add(1);
    }

    /// A call to the endpoint ended in a way that counts against its rates but not as an error in a
    /// row: its deadline may have been too short for any endpoint.
    pub fn was_too_slow(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The endpoint failed: a connect error, a reset or `UNAVAILABLE`. Says whether it is to be ejected
    /// for failing too often in a row.
    pub fn failed(&mut self, settings: &OutlierDetection) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.consecutive_errors = self.consecutive_errors.saturating_add(1);
        let most = settings.consecutive_errors;
        most.is_some_and(|most| self.consecutive_errors >= most)
    }

    /// Leaves the endpoint out from `now` on.
    pub fn eject(&mut self, settings: &OutlierDetection, now: Instant) {
        self.consecutive_errors = 0;
        self.multiplier = self.multiplier.saturating_add(1);
        let base = settings.base_ejection_time;
        let longest = settings.max_ejection_time.max(base);
        let length = base.saturating_mul(self.multiplier).min(longest);
        self.ejected_until = now.checked_add(length);
    }

    /// `intervals` have passed: begins to count anew, and forgives where the endpoint took calls.
    pub(crate) fn interval_ended(&mut self, intervals: u32, now: Instant) {
        self.successes = 0;
        self.failures = 0;
        if !self.is_ejected(now) {
            self.multiplier = self.multiplier.saturating_sub(intervals);
        }
    }
}

/// Whether one more of `endpoints` may be ejected when `ejected` already are.
pub fn may_eject(settings: &OutlierDetection, ejected: usize, endpoints: usize) -> bool {
    let percent = settings.max_ejection_percent as usize;
    let is_within = (ejected + 1) * 100 <= endpoints * percent;
    endpoints > 1 && percent > 0 && (ejected == 0 || is_within)
}

/// When the intervals of one target end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    ends: Option<Instant>,
}

impl Intervals {
    /// How many intervals have ended since the last time this was asked. The first begins with the
    /// first question.
    pub(crate) fn ended(&mut self, length: Duration, now: Instant) -> u32 {
        let length = length.max(Duration::from_millis(1));
        let Some(end) = self.ends else {
            self.ends = now.checked_add(length);
            return 0;
        };
        if now < end {
            return 0;
        }
        let late = now.saturating_duration_since(end);
        let more = u32::try_from(late.as_nanos() / length.as_nanos()).unwrap_or(u32::MAX - 1);
        self.ends = now.checked_add(length);
        more + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);

    fn settings() -> OutlierDetection {
        OutlierDetection {
            consecutive_errors: Some(5),
            base_ejection_time: BASE,
            max_ejection_time: BASE * 3,
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn five_failures_in_a_row_eject() {
        let mut outlier = Outlier::default();
        for _ in 0..4 {
            assert!(!outlier.failed(&settings()));
        }
        outlier.succeeded();
        for n in 1..=5 {
            assert_eq!(outlier.failed(&settings()), n == 5);
        }
    }

    #[test]
    fn second_ejection_lasts_twice_the_base_time_and_none_longer_than_the_longest() {
        let mut now = Instant::now();
        let mut outlier = Outlier::default();
        for times in [1, 2, 3, 3] {
            outlier.eject(&settings(), now);
            let end = now + BASE * times;
            assert!(outlier.is_ejected(end - Duration::from_secs(1)));
            assert!(!outlier.is_ejected(end));
            now = end;
        }
    }

    #[test]
    fn every_interval_of_good_behaviour_takes_one_ejection_off() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        outlier.eject(&settings(), now);
        outlier.interval_ended(1, now);
        outlier.eject(&settings(), now + BASE);
        assert_eq!(outlier.ejected_until(now + BASE), Some(now + BASE * 3));
        outlier.interval_ended(2, now + BASE * 3);
        outlier.eject(&settings(), now + BASE * 3);
        assert_eq!(outlier.ejected_until(now + BASE * 3), Some(now + BASE * 4));
    }

    #[test]
    fn at_most_the_configured_share_is_ejected_but_one_of_several_always_may_be() {
        let with = |percent| OutlierDetection {
            max_ejection_percent: percent,
            ..settings()
        };
        assert!(may_eject(&with(10), 0, 3));
        assert!(!may_eject(&with(10), 1, 3));
        assert!(!may_eject(&with(50), 1, 2));
        assert!(may_eject(&with(50), 1, 4));
        assert!(!may_eject(&with(100), 0, 1));
        assert!(!may_eject(&with(0), 0, 10));
    }

    #[test]
    fn intervals_that_nobody_looked_at_are_counted() {
        let (now, length) = (Instant::now(), Duration::from_secs(10));
        let mut intervals = Intervals::default();
        assert_eq!(intervals.ended(length, now), 0);
        assert_eq!(intervals.ended(length, now + Duration::from_secs(9)), 0);
        assert_eq!(intervals.ended(length, now + Duration::from_secs(10)), 1);
        assert_eq!(intervals.ended(length, now + Duration::from_secs(45)), 3);
    }
}
