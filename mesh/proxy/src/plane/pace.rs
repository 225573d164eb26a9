//! Lets work gather while much is on its way, as network cards do with their interrupts.
//!
//! A loop that is faster than its peers is woken for each piece that they send, handles it alone, and wakes
//! them for each piece in turn: most of the time of both goes into that. A pause of some microseconds makes
//! one turn of several. It is worth its own cost, of one more sleep, only where pieces follow each other
//! closely, and nobody notices it only where many calls are under way: a call alone is never held up.

use std::time::Duration;

/// How long to let work gather. The system makes up to twice of it.
pub(crate) const PAUSE: Duration = Duration::from_micros(50);

/// A turn that read less was about small messages, which come in one piece.
const MANY_BYTES: usize = 16 * 1024;
/// A turn that waited longer for its work has nothing to gather in the pause.
const CLOSE: Duration = Duration::from_micros(50);
/// With fewer calls under way it would be some call's own next piece that is held up.
const MANY_CALLS: usize = 8;

/// What the last turn was about.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How long it waited for work.
    pub(crate) waited: Duration,
    /// How much it has read.
    pub(crate) read: usize,
}

impl Pace {
    /// Whether to pause before the next turn, which begins with this.
    pub(crate) fn next_pauses(&mut self, calls: usize) -> bool {
        let last = std::mem::take(self);
        last.read >= MANY_BYTES && last.waited <= CLOSE && calls >= MANY_CALLS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_calls_with_much_to_carry_that_comes_closely_wait_for_each_other() {
        let pauses = |waited, read, calls| Pace { waited, read }.next_pauses(calls);
        let long = CLOSE + Duration::from_nanos(1);
        assert!(pauses(CLOSE, MANY_BYTES, MANY_CALLS));
        assert!(!pauses(long, MANY_BYTES, MANY_CALLS));
        assert!(!pauses(CLOSE, MANY_BYTES - 1, MANY_CALLS));
        assert!(!pauses(CLOSE, MANY_BYTES, MANY_CALLS - 1));
    }

    #[test]
    fn a_turn_that_read_nothing_is_not_followed_by_a_pause() {
        let mut pace = Pace {
            waited: Duration::ZERO,
            read: MANY_BYTES,
        };
        assert!(pace.next_pauses(MANY_CALLS));
        assert!(!pace.next_pauses(MANY_CALLS));
    }
}
