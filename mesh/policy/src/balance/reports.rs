//! Weights from what endpoints say of their load (ORCA, gRFC A58).
//!
//! An endpoint's weight is the calls per second it serves divided by how busy that makes it: what it
//! could serve if it were fully busy. Errors make it look busier.

use std::time::{Duration, Instant};

use crate::call::LoadReport;

/// The reports of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    weight: f64,
    /// Since when reports have come without a gap.
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Reports {
    /// A report came. One that says nothing usable leaves the weight alone.
    pub fn observe(&mut self, report: LoadReport, error_penalty_permille: u32, now: Instant) {
        let LoadReport {
            utilization,
            rps,
            eps,
        } = report;
        let is_usable = |value: f64| value.is_finite() && value > 0.0;
        if !is_usable(rps) || !utilization.is_finite() {
            return;
        }
        let errors = if is_usable(eps) { eps / rps } else { 0.0 };
        let busy = utilization + errors * f64::from(error_penalty_permille) / 1000.0;
        if !is_usable(busy) {
            return;
        }
        self.weight = rps / busy;
        self.since.get_or_insert(now);
        self.last = Some(now);
    }

    /// The weight. `None` before reports have come for `blackout`, or without one for `expiration`; then
    /// the blackout begins anew with the next report.
    pub(crate) fn weight(
        &self,
        now: Instant,
        blackout: Duration,
        expiration: Duration,
    ) -> Option<f64> {
        let (since, last) = (self.since?, self.last?);
        let is_alive = now.saturating_duration_since(last) < expiration;
        let is_proven = now.saturating_duration_since(since) >= blackout;
        (is_alive && is_proven).then_some(self.weight)
    }

    /// Forgets reports that are too old, so that the next one begins a blackout.
    pub(crate) fn expire(&mut self, now: Instant, expiration: Duration) {
        let is_old = |last| now.saturating_duration_since(last) >= expiration;
        if self.last.is_some_and(is_old) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACKOUT: Duration = Duration::from_secs(10);
    const EXPIRATION: Duration = Duration::from_secs(180);

    fn report(utilization: f64, rps: f64, eps: f64) -> LoadReport {
        LoadReport {
            utilization,
            rps,
            eps,
        }
    }

    #[test]
    fn reports_count_after_the_blackout_and_until_they_expire() {
        let now = Instant::now();
        let mut reports = Reports::default();
        reports.observe(report(0.5, 100.0, 0.0), 1000, now);
        assert_eq!(reports.weight(now, BLACKOUT, EXPIRATION), None);
        let later = now + BLACKOUT;
        assert_eq!(reports.weight(later, BLACKOUT, EXPIRATION), Some(200.0));
        assert_eq!(reports.weight(now + EXPIRATION, BLACKOUT, EXPIRATION), None);
        reports.expire(now + EXPIRATION, EXPIRATION);
        reports.observe(report(0.5, 100.0, 0.0), 1000, now + EXPIRATION);
        assert_eq!(reports.weight(now + EXPIRATION, BLACKOUT, EXPIRATION), None);
    }

    #[test]
    fn errors_weigh_as_utilization_and_nonsense_is_ignored() {
        let now = Instant::now();
        let mut reports = Reports::default();
        reports.observe(report(0.5, 100.0, 50.0), 1000, now);
        let weight = |reports: &Reports| reports.weight(now + BLACKOUT, BLACKOUT, EXPIRATION);
        assert_eq!(weight(&reports), Some(100.0));
        for nonsense in [
            report(f64::NAN, 1.0, 0.0),
            report(0.5, f64::INFINITY, 0.0),
            report(0.5, -1.0, 0.0),
            report(0.0, 1.0, 0.0),
            report(-1.0, 1.0, 0.0),
        ] {
            reports.observe(nonsense, 1000, now);
            assert_eq!(weight(&reports), Some(100.0), "{nonsense:?}");
        }
    }
}
