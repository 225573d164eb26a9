//! Timers of calls: set and cancelled for nearly every call, hardly ever due.
//!
//! A wheel of slots of one millisecond, each a list of timers: setting and cancelling touch one list.
//! A timer beyond the wheel's turn waits in its slot until its own turn comes.

use std::time::{Duration, Instant};

const SLOTS: usize = 8192;
/// Nanoseconds of a tick, one millisecond.
const TICK: u64 = 1_000_000;
const NONE: u32 = u32::MAX;

/// A timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey(u32);

impl Default for TimerKey {
    fn default() -> Self {
        Self::NONE
    }
}

impl TimerKey {
    /// No timer.
    pub(crate) const NONE: Self = Self(NONE);
}

struct Node<T> {
    what: T,
    due: u64,
    previous: u32,
    next: u32,
    is_set: bool,
}

/// Timers that carry a `T` each.
pub(crate) struct Wheel<T> {
    origin: Instant,
    /// The next tick to be looked at.
    now: u64,
    heads: Vec<u32>,
    /// A bit for each slot with timers.
    used: Vec<u64>,
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            now: 0,
            heads: vec![NONE; SLOTS],
            used: vec![0; SLOTS / 64],
            nodes: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Sets a timer. It is never early, and late by a tick at most.
    pub(crate) fn set(&mut self, at: Instant, what: T) -> TimerKey {
        let due = self.nanos(at).div_ceil(TICK).max(self.now);
        let slot = due as usize % SLOTS;
        let node = Node {
            what,
            due,
            previous: NONE,
            next: self.heads[slot],
            is_set: true,
        };
        let key = match self.free.pop() {
            Some(key) => {
                self.nodes[key as usize] = node;
                key
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let next = self.heads[slot];
        if next != NONE {
            self.nodes[next as usize].previous = key;
        }
        self.heads[slot] = key;
        self.used[slot / 64] |= 1 << (slot % 64);
        TimerKey(key)
    }

    /// Cancels a timer that is set; the key must not be used again.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        let Some(node) = self.nodes.get_mut(key.0 as usize) else {
            return;
        };
        if !std::mem::replace(&mut node.is_set, false) {
            return;
        }
        let (previous, next, slot) = (node.previous, node.next, node.due as usize % SLOTS);
        if previous == NONE {
            self.heads[slot] = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if self.heads[slot] == NONE {
            self.used[slot / 64] &= !(1 << (slot % 64));
        }
        self.free.push(key.0);
    }

    /// Moves what is due at `now` to `due`. Those timers are not set any more.
    pub(crate) fn expire(&mut self, now: Instant, due: &mut Vec<T>) {
        let until = self.nanos(now) / TICK;
        // After a long sleep each slot needs to be looked at once.
        let first = self.now.max((until + 1).saturating_sub(SLOTS as u64));
        for tick in first..=until {
            let slot = tick as usize % SLOTS;
            if self.used[slot / 64] & (1 << (slot % 64)) == 0 {
                continue;
            }
            let mut key = self.heads[slot];
            while key != NONE {
                let node = &self.nodes[key as usize];
                let next = node.next;
                if node.due <= until {
                    due.push(node.what);
                    self.cancel(TimerKey(key));
                }
                key = next;
            }
        }
        self.now = self.now.max(until + 1);
    }

    /// Since the wheel was made. What does not fit lasts for centuries.
    fn nanos(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.origin);
        let seconds = after.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(after.subsec_nanos().into())
    }

    /// When to call [`Self::expire`] at the latest. `None`: no timer is set.
    pub(crate) fn next(&self) -> Option<Instant> {
        let start = self.now as usize % SLOTS;
        let words = self.used.len();
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let mut word = self.used[at];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            } else if step == words {
                word &= !(u64::MAX << (start % 64));
            }
            if word != 0 {
                let slot = at * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(self.origin + Duration::from_millis(self.now + ahead as u64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_timer_fires_once_in_time_unless_it_is_cancelled(
            timers in proptest::collection::vec((0u64..20_000, any::<bool>()), 1..40),
            steps in proptest::collection::vec(1u64..6_000, 1..40),
        ) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            let mut expected = Vec::new();
            for (index, &(millis, cancelled)) in timers.iter().enumerate() {
                let key = wheel.set(start + Duration::from_millis(millis), index);
                if cancelled {
                    wheel.cancel(key);
                } else {
                    expected.push((millis, index));
                }
            }
            let mut now = start;
            for step in steps {
                let before = now.duration_since(start).as_millis() as u64;
                now += Duration::from_millis(step);
                let mut due = Vec::new();
                wheel.expire(now, &mut due);
                let elapsed = now.duration_since(start).as_millis() as u64;
                let mut wanted: Vec<usize> = expected.iter().filter(|(at, _)| *at <= elapsed).map(|(_, index)| *index).collect();
                expected.retain(|(at, _)| *at > elapsed);
                due.sort_unstable();
                wanted.sort_unstable();
                prop_assert_eq!(due, wanted, "from {} to {}", before, elapsed);
                match wheel.next() {
                    None => prop_assert!(expected.is_empty()),
                    Some(next) => {
                        let earliest = expected.iter().map(|(at, _)| *at).min().expect("a timer is set");
                        prop_assert!(next <= start + Duration::from_millis(earliest));
                    }
                }
            }
        }
    }

    #[test]
    fn a_timer_is_never_early_and_slots_are_reused() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for round in 0..1000 {
            let key = wheel.set(start + Duration::from_micros(1500), round);
            let mut due = Vec::new();
            wheel.expire(start + Duration::from_micros(1400), &mut due);
            assert!(due.is_empty());
            wheel.cancel(key);
            wheel.cancel(TimerKey::NONE);
        }
        assert_eq!(wheel.nodes.len(), 1);
        assert_eq!(wheel.next(), None);
    }
}
