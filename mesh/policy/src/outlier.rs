//! Outlier detection: an endpoint that keeps failing gets no calls for a while.

use std::time::{Duration, Instant};

use weft_model::dataplane::OutlierDetection;

/// The failures and ejections of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    consecutive_errors: u32,
    /// How many times the base ejection time the last ejection lasted.
    multiplier: u32,
    ejected_until: Option<Instant>,
}

impl Outlier {
    /// Whether the endpoint is left out.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| until > now)
    }

    /// The endpoint answered.
    pub fn succeeded(&mut self) {
        self.consecutive_errors = 0;
    }

    /// The endpoint failed: a connect error, a reset or `UNAVAILABLE`. Ejects it if that is one too
    /// many in a row and `may_eject` allows it, and says whether it did.
    pub fn failed(&mut self, settings: &OutlierDetection, now: Instant, may_eject: bool) -> bool {
        self.consecutive_errors = self.consecutive_errors.saturating_add(1);
        if self.consecutive_errors < settings.consecutive_errors.unwrap_or(u32::MAX)
            || !may_eject
            || self.is_ejected(now)
        {
            return false;
        }
        self.consecutive_errors = 0;
        self.multiplier = self.multiplier_at(settings.base_ejection_time, now) + 1;
        let length = settings.base_ejection_time.saturating_mul(self.multiplier);
        self.ejected_until = now.checked_add(length);
        true
    }

    /// Every base ejection time an endpoint behaves takes one ejection off its record.
    fn multiplier_at(&self, base: Duration, now: Instant) -> u32 {
        let Some(until) = self.ejected_until else {
            return 0;
        };
        let behaved = now.saturating_duration_since(until).as_secs_f64();
        let forgiven = (behaved / base.as_secs_f64().max(0.001)) as u32;
        self.multiplier.saturating_sub(forgiven)
    }
}

/// Whether one more of `endpoints` may be ejected when `ejected` already are.
pub fn may_eject(settings: &OutlierDetection, ejected: usize, endpoints: usize) -> bool {
    (ejected + 1) * 100 <= endpoints * settings.max_ejection_percent as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);

    fn settings() -> OutlierDetection {
        OutlierDetection {
            consecutive_errors: Some(5),
            base_ejection_time: BASE,
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }
    }

    fn eject(outlier: &mut Outlier, now: Instant) {
        for n in 1..=5 {
            assert_eq!(outlier.failed(&settings(), now, true), n == 5);
        }
    }

    #[test]
    fn five_failures_in_a_row_eject() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        for _ in 0..4 {
            assert!(!outlier.failed(&settings(), now, true));
        }
        outlier.succeeded();
        assert!(!outlier.failed(&settings(), now, true));
        assert!(!outlier.is_ejected(now));
        outlier.succeeded();
        eject(&mut outlier, now);
        assert!(outlier.is_ejected(now));
        assert!(!outlier.is_ejected(now + BASE));
    }

    #[test]
    fn second_ejection_lasts_twice_the_base_time() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        eject(&mut outlier, now);
        let again = now + BASE;
        eject(&mut outlier, again);
        assert!(outlier.is_ejected(again + BASE * 2 - Duration::from_secs(1)));
        assert!(!outlier.is_ejected(again + BASE * 2));
    }

    #[test]
    fn good_behaviour_shortens_the_next_ejection() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        eject(&mut outlier, now);
        let later = now + BASE * 3;
        eject(&mut outlier, later);
        assert!(!outlier.is_ejected(later + BASE));
    }

    #[test]
    fn at_most_the_configured_share_is_ejected() {
        assert!(may_eject(&settings(), 0, 2));
        assert!(!may_eject(&settings(), 1, 2));
        assert!(!may_eject(&settings(), 0, 1));
        assert!(may_eject(&settings(), 1, 4));
    }
}
