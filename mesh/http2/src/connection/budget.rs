//! How much of something a peer may still do.

use std::time::Instant;

/// Counts down to zero. What the peer does right gives back by [`Budget::give`], and time does by a
/// rate, which is looked at only when nothing is left: the usual case costs a subtraction.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    since: Instant,
}

impl Budget {
    pub fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self {
            left: most,
            most,
            per_second,
            since: now,
        }
    }

    /// Takes one, or says no.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            self.earn(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    pub fn give(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(self.most);
    }

    fn earn(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        let earned = elapsed.as_secs_f64() * f64::from(self.per_second);
        if earned >= 1.0 {
            // Saturates at the largest `u32`.
            self.left = self.most.min(earned as u32);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_is_used_up_and_comes_back_by_merit_and_by_time() {
        let start = Instant::now();
        let mut budget = Budget::new(3, 2, start);
        assert_eq!(
            [(); 4].map(|()| budget.take(start)),
            [true, true, true, false]
        );
        budget.give(1);
        assert_eq!([(); 2].map(|()| budget.take(start)), [true, false]);
        let later = start + Duration::from_secs(1);
        assert_eq!([(); 3].map(|()| budget.take(later)), [true, true, false]);
        let much_later = later + Duration::from_secs(1_000);
        assert_eq!(
            [(); 4].map(|()| budget.take(much_later)),
            [true, true, true, false]
        );
    }
}
