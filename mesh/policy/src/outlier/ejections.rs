//! What outlier detection has done, for metrics.

/// What finds an endpoint to be an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Failures in a row.
    ConsecutiveGatewayFailure,
    /// Its success rate is far below the others'.
    SuccessRate,
    /// It fails too large a share of its calls.
    FailurePercentage,
}

/// Counts of one target since the process began to know it, as Envoy and gRFC A91 count.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ejections {
    /// By [`Detector`]: found, whether or not it could be ejected.
    detected: [u64; 3],
    /// By [`Detector`]: ejected.
    enforced: [u64; 3],
    /// Not ejected because too many others are.
    pub overflow: u64,
}

impl Ejections {
    /// How many were found by a detector.
    pub fn detected(&self, detector: Detector) -> u64 {
        self.detected[detector as usize]
    }

    /// How many of them were ejected.
    pub fn enforced(&self, detector: Detector) -> u64 {
        self.enforced[detector as usize]
    }

    /// How many were ejected, whatever for.
    pub fn enforced_total(&self) -> u64 {
        self.enforced.iter().sum()
    }

    pub(crate) fn count(&mut self, detector: Detector, is_enforced: bool) {
        self.detected[detector as usize] += 1;
        match is_enforced {
            true => self.enforced[detector as usize] += 1,
            false => self.overflow += 1,
        }
    }
}
