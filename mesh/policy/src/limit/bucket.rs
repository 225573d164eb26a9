//! A token bucket as Envoy's `token_bucket`: filled by so many tokens at every interval.

use std::time::{Duration, Instant};

use weft_model::dataplane::TokenBucket;

/// The tokens of one key.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval: Duration,
    tokens: u32,
    /// The last interval that was filled in.
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(settings: &TokenBucket, now: Instant) -> Self {
        Self {
            max_tokens: settings.max_tokens,
            tokens_per_fill: settings.tokens_per_fill,
            fill_interval: settings.fill_interval.max(Duration::from_millis(1)),
            tokens: settings.max_tokens,
            filled: now,
        }
    }

    /// Adds the tokens of the intervals that have passed.
    pub(super) fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        if passed < self.fill_interval {
            return;
        }
        let intervals = passed.as_nanos() / self.fill_interval.as_nanos();
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        let more = intervals.saturating_mul(self.tokens_per_fill);
        self.tokens = self.tokens.saturating_add(more).min(self.max_tokens);
        let step = self.fill_interval.checked_mul(intervals);
        self.filled = step
            .and_then(|step| self.filled.checked_add(step))
            .unwrap_or(now);
    }

    pub(super) fn tokens(&self) -> u32 {
        self.tokens
    }

    pub(super) fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }

    pub(super) fn is_full(&self) -> bool {
        self.tokens >= self.max_tokens
    }

    /// Until the next tokens come. `None`: they never do.
    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        (self.tokens_per_fill > 0 && self.max_tokens > 0).then(|| self.after(1, now))
    }

    /// Until it is full. `None`: it never is again.
    pub(super) fn until_full(&self, now: Instant) -> Option<Duration> {
        let missing = self.max_tokens.saturating_sub(self.tokens);
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        let intervals = missing.checked_add(self.tokens_per_fill.checked_sub(1)?)?;
        Some(self.after(intervals.checked_div(self.tokens_per_fill)?, now))
    }

    fn after(&self, intervals: u32, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled);
        let length = self.fill_interval.saturating_mul(intervals);
        length.saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(max_tokens: u32, tokens_per_fill: u32, millis: u64) -> TokenBucket {
        TokenBucket {
            max_tokens,
            tokens_per_fill,
            fill_interval: Duration::from_millis(millis),
        }
    }

    #[test]
    fn tokens_come_at_every_interval_up_to_what_fits() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut bucket = Bucket::new(&settings(5, 2, 100), now);
        (0..5).for_each(|_| bucket.take());
        bucket.fill(at(99));
        assert_eq!(bucket.tokens(), 0);
        assert_eq!(bucket.until_next(at(99)), Some(Duration::from_millis(1)));
        assert_eq!(bucket.until_full(at(99)), Some(Duration::from_millis(201)));
        bucket.fill(at(250));
        assert_eq!(bucket.tokens(), 4);
        assert_eq!(bucket.until_full(at(250)), Some(Duration::from_millis(50)));
        bucket.fill(at(1000));
        assert_eq!(bucket.tokens(), 5);
        assert_eq!(bucket.until_full(at(1000)), Some(Duration::ZERO));
    }

    #[test]
    fn a_bucket_that_is_never_filled_says_so() {
        let now = Instant::now();
        let mut bucket = Bucket::new(&settings(1, 0, 100), now);
        bucket.take();
        bucket.fill(now + Duration::from_secs(9));
        assert_eq!(bucket.tokens(), 0);
        assert_eq!(bucket.until_next(now), None);
        assert_eq!(bucket.until_full(now), None);
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_bucket_and_its_fills(
            max in 1u32..20, per_fill in 1u32..20, gaps in proptest::collection::vec(0u64..400, 1..80),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(&settings(max, per_fill, 100), now);
            let mut passed = 0;
            for gap in gaps {
                now += Duration::from_millis(gap);
                bucket.fill(now);
                if bucket.tokens() > 0 {
                    bucket.take();
                    passed += 1;
                }
                let fills = (now - start).as_millis() as u32 / 100;
                prop_assert!(passed <= max + fills * per_fill);
            }
        }
    }
}
