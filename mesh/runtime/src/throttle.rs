//! Lines about what others can do without end: they must not fill the disk with them.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);

/// What was logged lately, by what it is about.
#[derive(Debug)]
pub struct Throttle {
    /// About one thing in [`WINDOW`].
    most: u32,
    lines: Vec<(&'static str, Lines)>,
}

#[derive(Debug)]
struct Lines {
    until: Instant,
    left: u32,
    left_out: u64,
}

impl Throttle {
    /// So many lines a second about one thing.
    pub fn new(most: u32) -> Self {
        let lines = Vec::new();
        Self { most, lines }
    }

    /// Whether a line about this may be written now, and how many were left out before it.
    pub fn line(&mut self, about: &'static str, now: Instant) -> Option<Option<NonZeroU64>> {
        let at = self.lines.iter().position(|(other, _)| *other == about);
        let at = at.unwrap_or_else(|| {
            let lines = Lines {
                until: now,
                left: 0,
                left_out: 0,
            };
            self.lines.push((about, lines));
            self.lines.len() - 1
        });
        let (_, lines) = &mut self.lines[at];
        if now >= lines.until {
            (lines.until, lines.left) = (now + WINDOW, self.most);
        }
        match lines.left.checked_sub(1) {
            Some(left) => {
                lines.left = left;
                Some(NonZeroU64::new(std::mem::take(&mut lines.left_out)))
            }
            None => {
                lines.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: u32 = 20;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_with_the_next_and_others_are_not_held_up() {
        let (mut throttle, now) = (Throttle::new(LINES), Instant::now());
        let mut written = (0..LINES + 30).filter_map(|_| throttle.line("flood", now));
        assert!(written.by_ref().all(|left_out| left_out.is_none()));
        assert_eq!(throttle.line("flood", now), None);
        assert_eq!(throttle.line("another", now), Some(None));
        let later = now + WINDOW;
        assert_eq!(throttle.line("flood", later), Some(NonZeroU64::new(31)));
        assert_eq!(throttle.line("flood", later), Some(None));
        let more = (2..LINES).filter_map(|_| throttle.line("flood", later));
        assert_eq!(more.count() as u32, LINES - 2);
        assert_eq!(throttle.line("flood", later), None);
    }
}
