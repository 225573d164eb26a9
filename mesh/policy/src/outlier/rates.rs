//! Which endpoints fail too large a share of their calls, judged once per interval (gRFC A50).

use weft_model::dataplane::{FailurePercentage, OutlierDetection, SuccessRate};

use super::Detector;

/// What one endpoint's calls came to in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Which endpoint.
    pub endpoint: u32,
    /// Calls it answered.
    pub successes: u32,
    /// Calls it failed.
    pub failures: u32,
}

impl Tally {
    fn volume(&self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    /// In percent; only asked of those with calls.
    fn success_rate(&self) -> f64 {
        100.0 * f64::from(self.successes) / f64::from(self.volume().max(1))
    }
}

/// The endpoints to eject, those whom the success rate condemns first, as A50 orders them. One may be
/// condemned twice.
pub fn condemned(settings: &OutlierDetection, tallies: &[Tally]) -> Vec<(u32, Detector)> {
    let mut condemned = Vec::new();
    if let Some(rule) = &settings.success_rate {
        let endpoints = by_success_rate(rule, tallies).into_iter();
        condemned.extend(endpoints.map(|endpoint| (endpoint, Detector::SuccessRate)));
    }
    if let Some(rule) = &settings.failure_percentage {
        let endpoints = by_failure_percentage(rule, tallies).into_iter();
        condemned.extend(endpoints.map(|endpoint| (endpoint, Detector::FailurePercentage)));
    }
    condemned
}

fn by_success_rate(rule: &SuccessRate, tallies: &[Tally]) -> Vec<u32> {
    let judged = enough(tallies, rule.request_volume, rule.minimum_hosts);
    let count = judged.len().max(1) as f64;
    let mean = judged.iter().map(Tally::success_rate).sum::<f64>() / count;
    let squares = judged
        .iter()
        .map(|tally| (tally.success_rate() - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    let least = mean - deviation * f64::from(rule.stdev_factor_permille) / 1000.0;
    let poor = judged.iter().filter(|tally| tally.success_rate() < least);
    poor.map(|tally| tally.endpoint).collect()
}

fn by_failure_percentage(rule: &FailurePercentage, tallies: &[Tally]) -> Vec<u32> {
    let judged = enough(tallies, rule.request_volume, rule.minimum_hosts);
    let most = f64::from(rule.threshold);
    let poor = judged
        .iter()
        .filter(|tally| 100.0 - tally.success_rate() > most);
    poor.map(|tally| tally.endpoint).collect()
}

/// Those with enough calls to be judged; nobody where they are too few.
fn enough(tallies: &[Tally], volume: u32, hosts: u32) -> Vec<Tally> {
    let mut judged = tallies.to_vec();
    judged.retain(|tally| tally.volume() >= volume.max(1));
    if judged.len() < hosts as usize {
        judged.clear();
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tallies(calls: &[(u32, u32)]) -> Vec<Tally> {
        (0..)
            .zip(calls)
            .map(|(endpoint, &(successes, failures))| Tally {
                endpoint,
                successes,
                failures,
            })
            .collect()
    }

    fn percentage(threshold: u32) -> OutlierDetection {
        OutlierDetection {
            failure_percentage: Some(FailurePercentage {
                threshold,
                minimum_hosts: 3,
                request_volume: 10,
            }),
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn whoever_fails_a_larger_share_than_the_threshold_is_condemned() {
        let calls = tallies(&[(10, 0), (5, 5), (4, 6), (9, 1)]);
        assert_eq!(
            condemned(&percentage(50), &calls),
            [(2, Detector::FailurePercentage)]
        );
    }

    #[test]
    fn too_few_calls_or_endpoints_are_not_judged() {
        let quiet = tallies(&[(0, 9), (10, 0), (10, 0), (10, 0)]);
        assert!(condemned(&percentage(50), &quiet).is_empty());
        let few = tallies(&[(0, 10), (10, 0)]);
        assert!(condemned(&percentage(50), &few).is_empty());
    }

    #[test]
    fn whoever_succeeds_much_less_often_than_the_others_is_condemned() {
        let settings = OutlierDetection {
            success_rate: Some(SuccessRate {
                stdev_factor_permille: 1900,
                minimum_hosts: 5,
                request_volume: 100,
            }),
            ..OutlierDetection::default()
        };
        let one = tallies(&[(100, 0), (99, 1), (100, 0), (100, 0), (60, 40), (98, 2)]);
        assert_eq!(condemned(&settings, &one), [(4, Detector::SuccessRate)]);
        let all = tallies(&[(50, 50); 6]);
        assert!(
            condemned(&settings, &all).is_empty(),
            "all are equally poor"
        );
    }
}
