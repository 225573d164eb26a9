//! Histograms that one thread fills: an observation takes a dozen instructions.

/// Bounds of buckets, rising; the last is above every value.
#[derive(Debug)]
pub(crate) struct Scale<const BUCKETS: usize> {
    bounds: [u64; BUCKETS],
    /// For each number of bits the first bucket in which a value of so many may be.
    first: [u8; u64::BITS as usize + 1],
}

/// Every bound, in nanoseconds, of the histograms of time that are shown: gRPC's and Istio's. Each call is
/// counted once for both.
pub(crate) static NANOSECONDS: Scale<20> = Scale::new([
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    5_000_000,
    8_000_000,
    10_000_000,
    16_000_000,
    25_000_000,
    30_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    u64::MAX,
]);

/// gRFC A66's bounds of sizes.
pub(crate) static BYTES: Scale<15> = Scale::new([
    0,
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
    1 << 32,
    u64::MAX,
]);

/// By [`NANOSECONDS`].
pub(crate) type Durations = Histogram<20>;
/// By [`BYTES`].
pub(crate) type Sizes = Histogram<15>;

impl<const BUCKETS: usize> Scale<BUCKETS> {
    const fn new(bounds: [u64; BUCKETS]) -> Self {
        let mut first = [0; u64::BITS as usize + 1];
        let mut bits = 1;
        while bits < first.len() {
            let mut at = 0;
            while bounds[at] < 1 << (bits - 1) {
                at += 1;
            }
            first[bits] = at as u8;
            bits += 1;
        }
        Self { bounds, first }
    }

    fn bucket(&self, value: u64) -> usize {
        let bits = u64::BITS - value.leading_zeros();
        let mut at = usize::from(self.first[bits as usize]);
        while self.bounds[at] < value {
            at += 1;
        }
        at
    }
}

/// How often what was observed.
#[derive(Clone, Debug)]
pub(crate) struct Histogram<const BUCKETS: usize> {
    buckets: [u64; BUCKETS],
    pub(crate) sum: u64,
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum: 0,
        }
    }
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(crate) fn observe(&mut self, scale: &Scale<BUCKETS>, value: u64) {
        self.buckets[scale.bucket(value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (own, others) in self.buckets.iter_mut().zip(other.buckets) {
            *own += others;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The counts below each of `bounds`, which are the scale's in this `unit` or fewer, and above all.
    pub(crate) fn below(
        &self,
        scale: &Scale<BUCKETS>,
        bounds: &[f64],
        unit: f64,
    ) -> Vec<(f64, u64)> {
        let mut found: Vec<_> = bounds.iter().map(|&bound| (bound, 0)).collect();
        found.push((f64::INFINITY, 0));
        for (own, count) in scale.bounds.into_iter().zip(self.buckets) {
            // In another unit they may differ in the last digit.
            let own = own as f64 * unit * (1.0 - 1e-9);
            found[bounds.partition_point(|&bound| bound < own)].1 += count;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use weft_runtime::metrics::{
        CALL_SECONDS,
        calls::{ISTIO_MILLISECONDS, MESSAGE_BYTES},
    };

    use super::*;

    fn every_bound_is_a_limit<const BUCKETS: usize>(
        scale: &Scale<BUCKETS>,
        bounds: &[f64],
        unit: f64,
    ) {
        for (at, bound) in bounds.iter().enumerate() {
            let mut histogram = Histogram::default();
            let value = (bound / unit).round() as u64;
            histogram.observe(scale, value);
            histogram.observe(scale, value + 1);
            let below = histogram.below(scale, bounds, unit);
            assert_eq!(below[at], (*bound, 1), "up to {bound} in {below:?}");
            assert_eq!(below[at + 1].1, 1, "above {bound} in {below:?}");
            assert_eq!(histogram.count(), 2);
            assert_eq!(histogram.sum, 2 * value + 1);
        }
    }

    #[test]
    fn what_is_counted_once_is_right_in_every_histogram() {
        every_bound_is_a_limit(&NANOSECONDS, &CALL_SECONDS, 1e-9);
        every_bound_is_a_limit(&NANOSECONDS, &ISTIO_MILLISECONDS, 1e-6);
        every_bound_is_a_limit(&BYTES, &MESSAGE_BYTES, 1.0);
    }

    #[test]
    fn every_value_has_a_bucket() {
        for shift in 0..u64::BITS {
            for value in [1 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let at = NANOSECONDS.bucket(value);
                assert!(value <= NANOSECONDS.bounds[at]);
                assert!(at == 0 || value > NANOSECONDS.bounds[at - 1], "{value}");
            }
        }
    }
}
