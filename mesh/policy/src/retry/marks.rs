//! Retries at one layer only: what the sidecar of a workload in the middle remembers.
//!
//! Where a call passes several hops, retries at each of them multiply: three attempts at each of three
//! hops are 27 at the last one, which is failing anyway. The SRE book's rule is to retry only directly
//! above what failed, and to tell everybody further up not to. Between two of our proxies that word is
//! `grpc-retry-pushback-ms: -1` on the failed answer ([`crate::Call::retries_are_spent`]). In between
//! stands a workload, whose own answer does not carry it on. Both sidecars' engines of one workload
//! therefore share these marks, found again by the id of the trace that the workload hands on:
//!
//! - *spent*: a call the workload made failed after its retries. If the call the workload is serving in
//!   the same trace fails too, its answer gets the pushback.
//! - *repeated*: the call the workload is serving is itself a repetition. Calls it makes in the same
//!   trace are not repeated again ([`crate::RequestFacts::is_retry`]).
//!
//! A workload that hands no trace on loses only this; the retry tokens of each hop still bound the sum.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Marks of the last seconds.
#[derive(Debug, Default)]
pub struct RetryMarks {
    marks: HashMap<u128, Mark>,
    /// Every mark once per time it was set, the oldest first.
    order: VecDeque<(Instant, u128)>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    until: Instant,
    is_spent: bool,
    is_repeated: bool,
}

impl RetryMarks {
    /// How long a mark is remembered: longer than calls usually take.
    pub const LIFETIME: Duration = Duration::from_secs(10);
    /// How many are remembered. Beyond it the oldest are forgotten: tokens bound the retries then.
    pub const MOST: usize = 4096;

    /// Whether nothing is remembered: nearly always, and then nobody needs to look for a trace.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// A call that the workload made in this trace failed, and its retries are spent.
    pub fn spent(&mut self, trace: u128, now: Instant) {
        self.mark(trace, now).is_spent = true;
    }

    /// Whether a call of this trace failed with its retries spent.
    pub fn is_spent(&self, trace: u128, now: Instant) -> bool {
        self.find(trace, now).is_some_and(|mark| mark.is_spent)
    }

    /// The workload serves a call of this trace that is a repetition.
    pub fn repeated(&mut self, trace: u128, now: Instant) {
        self.mark(trace, now).is_repeated = true;
    }

    /// Whether the workload serves a call of this trace that is a repetition.
    pub fn is_repeated(&self, trace: u128, now: Instant) -> bool {
        self.find(trace, now).is_some_and(|mark| mark.is_repeated)
    }

    fn find(&self, trace: u128, now: Instant) -> Option<&Mark> {
        self.marks.get(&trace).filter(|mark| mark.until > now)
    }

    fn mark(&mut self, trace: u128, now: Instant) -> &mut Mark {
        while let Some(&(until, oldest)) = self.order.front() {
            if until > now && self.order.len() < Self::MOST {
                break;
            }
            self.order.pop_front();
            if self
                .marks
                .get(&oldest)
                .is_some_and(|mark| mark.until <= until)
            {
                self.marks.remove(&oldest);
            }
        }
        let until = now + Self::LIFETIME;
        self.order.push_back((until, trace));
        let fresh = Mark {
            until,
            is_spent: false,
            is_repeated: false,
        };
        let mark = self.marks.entry(trace).or_insert(fresh);
        if mark.until <= now {
            *mark = fresh;
        }
        mark.until = until;
        mark
    }
}

/// The trace id in a W3C `traceparent`: `00-<32 hex digits>-...`. `None` where it has none.
pub fn trace_id(traceparent: &str) -> Option<u128> {
    let digits = traceparent.split('-').nth(1)?;
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().filter(|&id| id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_remembered_for_its_lifetime() {
        let now = Instant::now();
        let mut marks = RetryMarks::default();
        marks.spent(7, now);
        assert!(marks.is_spent(7, now));
        assert!(!marks.is_repeated(7, now));
        assert!(!marks.is_spent(8, now));
        assert!(!marks.is_spent(7, now + RetryMarks::LIFETIME));
        marks.repeated(7, now + RetryMarks::LIFETIME);
        assert!(!marks.is_spent(7, now + RetryMarks::LIFETIME));
    }

    #[test]
    fn marks_are_bounded_and_the_newest_stay() {
        let now = Instant::now();
        let mut marks = RetryMarks::default();
        for trace in 1..=3 * RetryMarks::MOST as u128 {
            marks.spent(trace, now);
        }
        assert!(marks.marks.len() <= RetryMarks::MOST && marks.order.len() <= RetryMarks::MOST);
        assert!(marks.is_spent(3 * RetryMarks::MOST as u128, now));
        assert!(!marks.is_spent(1, now));
    }

    #[test]
    fn the_trace_id_of_a_traceparent_is_read() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(
            trace_id(parent),
            Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c)
        );
        for text in [
            "",
            "00",
            "00-zz-1-01",
            "00-+af7651916cd43dd8448eb211c80319c-1-01",
        ] {
            assert_eq!(trace_id(text), None, "{text}");
        }
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        assert_eq!(trace_id(zero), None);
    }
}
