//! Waiting between attempts.

use std::{ops::Range, time::Duration};

use rand::Rng;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Exponential, with full jitter over the upper half.
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    /// Sleeps, longer each time.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(jittered(self.0, 0.5..1.0)).await;
        self.0 = (self.0 * 3 / 2).min(LONGEST_BACKOFF);
    }
}

/// A random part of `duration`. Apart from async code, because the generator is bound to its thread.
pub(crate) fn jittered(duration: Duration, range: Range<f64>) -> Duration {
    duration.mul_f64(rand::rng().random_range(range))
}
