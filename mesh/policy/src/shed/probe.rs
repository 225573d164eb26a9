//! Calls are held back for a moment, to see a workload's pace without a queue.
//!
//! Envoy lets three calls pass at a time until fifty are answered, once a minute and at the start,
//! whatever the workload can carry. Here a probe halves the calls under way, and halves them again as
//! long as that makes answers faster: while it does, calls were queueing, and the workload was at work
//! all the time. Where it does not, the queue is gone, whether one worker is behind it or a hundred.
//!
//! A probe begins only under pressure, that is when calls are shed or slow for some windows and the limit
//! is in use: at once when nothing was ever learned, after a pause otherwise, and sooner if the limit has
//! fallen to half, which a workload that became slower for good looks like. Pauses double while probes find
//! what was known; they are as long as twenty probes, so that slow workloads do not spend their time on
//! them, and of random length, so that replicas do not hold back together.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngCore};

use super::{ENOUGH, LASTING, LONGEST_WINDOW};

/// Answers become faster if they take less than this part of the time they took.
pub(super) const FASTER: f64 = 0.8;
/// A step without enough answers ends after this.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// Between probes. A pause is twice as long as the last one if the pace was known.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When there was a probe, and the one under way.
#[derive(Debug, Default)]
pub(super) struct Probes {
    step: Option<Step>,
    /// Windows in a row under pressure.
    pressed: u32,
    /// How many calls were under way at most in the last window.
    in_flight: u32,
    last: Option<Last>,
}

/// A part of a probe.
#[derive(Debug)]
struct Step {
    limit: u32,
    slowness_before: f64,
    probe_began: Instant,
    /// A random factor of the pause that follows.
    spread: f64,
}

/// What is left of a probe.
#[derive(Debug)]
struct Last {
    /// Until the next.
    pause: Duration,
    next_at: Instant,
    /// The limit on calls under way at its end.
    limit: f64,
}

/// What follows from a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There was a queue; fewer calls will show more.
    Step,
    /// There is no queue: this is the pace.
    Learned,
    /// There was a queue, but the mesh file wants that many calls.
    AtLeast,
    /// Too few calls came.
    Abandoned,
}

impl Probes {
    /// How many calls may be under way, while a probe is.
    pub(super) fn limit(&self) -> Option<u32> {
        self.step.as_ref().map(|step| step.limit)
    }

    /// Whether the step that has lasted for `age` has shown what it can. `None`: there is none.
    ///
    /// The first answers are those of short calls: with fewer than some times the calls under way, the
    /// workload looks faster than it is.
    pub(super) fn is_step_over(&self, answers: u32, age: Duration) -> Option<bool> {
        let enough = ENOUGH.max(self.limit()?);
        let is_enough = answers >= 2 * enough || (answers >= enough && age >= LONGEST_WINDOW);
        Some(is_enough || age >= LONGEST_STEP)
    }

    /// A window showed whether calls are shed or slow, and how many were under way at most.
    pub(super) fn saw(&mut self, is_pressed: bool, in_flight: u32) {
        self.pressed = if is_pressed { self.pressed + 1 } else { 0 };
        self.in_flight = in_flight;
    }

    /// Begins a probe if there is reason to.
    pub(super) fn begin(&mut self, limit: f64, now: Instant, rng: &mut dyn RngCore) -> bool {
        if self.pressed < LASTING || self.step.is_some() {
            return false;
        }
        let is_due = |last: &Last| now >= last.next_at || limit < last.limit / 2.0;
        if !self.last.as_ref().is_none_or(is_due) {
            return false;
        }
        self.step = Some(Step {
            limit: self.in_flight,
            // The first step shows what the next is compared with.
            slowness_before: f64::INFINITY,
            probe_began: now,
            spread: rng.random_range(1.0..1.3),
        });
        true
    }

    /// The step under way is over. `slowness` is what its answers showed, if there were enough.
    pub(super) fn step_ended(
        &mut self,
        slowness: Option<f64>,
        least: u32,
        limit: f64,
        now: Instant,
    ) -> Next {
        let (Some(step), Some(slowness)) = (&mut self.step, slowness) else {
            self.end(false, limit, now);
            return Next::Abandoned;
        };
        let next = match slowness < FASTER * step.slowness_before {
            true if step.limit > least => Next::Step,
            // One call at a time does not queue.
            true if least > 1 => Next::AtLeast,
            _ => Next::Learned,
        };
        if next == Next::Step {
            step.limit /= 2;
            step.slowness_before = slowness;
        } else {
            let was_known = (FASTER..1.0 / FASTER).contains(&slowness);
            self.end(was_known, limit, now);
        }
        next
    }

    fn end(&mut self, was_known: bool, limit: f64, now: Instant) {
        let Some(step) = self.step.take() else {
            return;
        };
        self.pressed = 0;
        let took = now.saturating_duration_since(step.probe_began);
        let last = self.last.as_ref().filter(|_| was_known);
        let wanted = last.map_or(SHORTEST_PAUSE, |last| 2 * last.pause);
        let pause = wanted.max(20 * took).min(LONGEST_PAUSE);
        self.last = Some(Last {
            pause,
            next_at: now + pause.mul_f64(step.spread),
            limit,
        });
    }
}
