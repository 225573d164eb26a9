//! Load shedding: how many calls the workload carries without queueing, and who passes when it is full.
//!
//! The limit on calls under way follows latency, as Netflix's gradient limiter does: as long as answers
//! take about as long as they usually do, the limit grows by its square root; as they take longer, it
//! shrinks in proportion. It moves only while it matters, that is while at least half of it is used: few
//! slow calls prove nothing. "Usually" is a pace of each method ([`pace`]), so that a mix of fast and
//! slow methods is not mistaken for congestion.
//!
//! What is usual cannot be seen while calls queue: Netflix's limiter slowly takes latency under overload
//! for the usual one. As Envoy does, calls are held back for a moment now and then to see the pace without
//! a queue, but only while calls are shed or slow, and no further than it helps ([`probe`]).
//!
//! A call counts from its admission to its response headers: the time a server works before it
//! answers. A stream that lives for hours costs a place only until it begins, and says nothing of
//! latency afterwards.
//!
//! Who passes: each grade of criticality may fill a larger share of the limit ([`share`]), so that the
//! most critical is shed only when every other already is.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngCore};
use weft_model::dataplane::{AdaptiveConcurrency, Criticality};

use crate::inbound::RetryAdvice;

mod pace;
mod probe;

use pace::{Paces, Trust};
use probe::{Next, Probes};

/// How slow answers may be, as a multiple of their pace, before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// How much of a new limit is taken at once.
const SMOOTHING: f64 = 0.2;
/// The limit is looked at so often, if there were enough answers.
const WINDOW: Duration = Duration::from_millis(100);
/// With fewer answers than this a window goes on, up to [`LONGEST_WINDOW`].
const ENOUGH: u32 = 10;
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// Windows in a row that show more than a burst.
const LASTING: u32 = 5;
/// Places that only the most critical calls may take. With a limit of 10 and more their share has as many.
const RESERVE: u32 = 2;
/// Where the limit begins: Netflix's default.
const INITIAL: f64 = 20.0;

/// The limit on calls under way at one workload.
#[derive(Debug)]
pub(crate) struct Shedder {
    settings: AdaptiveConcurrency,
    limit: f64,
    window: Window,
    paces: Paces,
    probes: Probes,
    /// Windows in a row whose answers were faster than usual though many calls were under way.
    fast: u32,
    /// Of the calls of late, how many were shed.
    shed_share: f64,
}

/// What happened since the limit was last looked at.
#[derive(Clone, Debug)]
struct Window {
    began: Instant,
    /// Latencies as multiples of their pace.
    slowness: f64,
    answers: u32,
    most_in_flight: u32,
    admitted: u32,
    shed: u32,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self {
            began,
            slowness: 0.0,
            answers: 0,
            most_in_flight: 0,
            admitted: 0,
            shed: 0,
        }
    }
}

impl Shedder {
    pub(crate) fn new(settings: AdaptiveConcurrency, now: Instant) -> Self {
        let mut shedder = Self {
            settings,
            limit: INITIAL,
            window: Window::new(now),
            paces: Paces::default(),
            probes: Probes::default(),
            fast: 0,
            shed_share: 0.0,
        };
        shedder.set_limit(INITIAL);
        shedder
    }

    pub(crate) fn update(&mut self, settings: &AdaptiveConcurrency) {
        self.settings = settings.clone();
        self.set_limit(self.limit);
    }

    /// The number under which a method's latencies are told.
    pub(crate) fn method(&mut self, path: &str) -> usize {
        self.paces.method(path)
    }

    /// How many calls may be under way now.
    pub(crate) fn limit(&self) -> u32 {
        let limit = self.probes.limit().unwrap_or(self.limit as u32);
        let limit = limit.min(self.settings.max_concurrency);
        limit.max(self.settings.min_concurrency).max(1)
    }

    /// Of the calls of late, how many were shed: 0 to 1.
    pub(crate) fn shed_share(&self) -> f64 {
        self.shed_share
    }

    /// Whether a call may join the `in_flight` others; if not, when it may be tried again.
    pub(crate) fn admit(
        &mut self,
        criticality: Criticality,
        in_flight: u32,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Result<(), RetryAdvice> {
        self.look(now);
        if self.probes.begin(self.limit, now, rng) {
            self.window = Window::new(now);
        }
        if in_flight < self.room(criticality) {
            self.window.admitted += 1;
            self.window.most_in_flight = self.window.most_in_flight.max(in_flight + 1);
            return Ok(());
        }
        self.window.shed += 1;
        // To be shed at a share of the limit is to have used it.
        self.window.most_in_flight = self.window.most_in_flight.max(self.limit());
        Err(self.advice(criticality, rng))
    }

    /// How many calls may be under way before one of a grade. Shares of a small limit are all the same, so
    /// the most critical have some places besides: but not while calls are held back to see the pace.
    fn room(&self, criticality: Criticality) -> u32 {
        let room = |grade| ((f64::from(self.limit()) * share(grade)) as u32).max(1);
        match criticality {
            Criticality::CriticalPlus if self.probes.limit().is_none() => {
                room(criticality).max(room(Criticality::Critical) + RESERVE)
            }
            other => room(other),
        }
    }

    /// A call that was admitted at `started` was answered.
    pub(crate) fn answered(&mut self, method: usize, started: Instant, now: Instant) {
        self.look(now);
        // What was admitted before calls were held back waited in the queue that this is to show without.
        if self.probes.limit().is_some() && started < self.window.began {
            return;
        }
        let latency = now.saturating_duration_since(started).as_secs_f64();
        self.window.slowness += self.paces.observe(method, latency);
        self.window.answers += 1;
    }

    /// The less a call matters the less sense there is in trying it again soon. What matters is tried
    /// again after about the time the present calls take, longer the more are shed.
    fn advice(&self, criticality: Criticality, rng: &mut dyn RngCore) -> RetryAdvice {
        if criticality < Criticality::Critical {
            return RetryAdvice::Never;
        }
        let usual = self.paces.usual().unwrap_or(0.05);
        let wait = (usual * (2.0 + 20.0 * self.shed_share)).clamp(0.02, 2.0);
        RetryAdvice::After(Duration::from_secs_f64(wait * rng.random_range(0.5..1.5)))
    }

    /// Ends the window where it is over.
    fn look(&mut self, now: Instant) {
        let answers = self.window.answers;
        let age = now.saturating_duration_since(self.window.began);
        let is_step_over = self.probes.is_step_over(answers, age);
        let is_over = age >= WINDOW && (answers >= ENOUGH || age >= LONGEST_WINDOW);
        let is_over = is_step_over.unwrap_or(is_over);
        if !is_over {
            return;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now));
        let calls = window.admitted + window.shed;
        if calls > 0 {
            let share = f64::from(window.shed) / f64::from(calls);
            self.shed_share += 0.3 * (share - self.shed_share);
        }
        let slowness = (answers >= ENOUGH).then(|| window.slowness / f64::from(answers));
        if is_step_over.is_some() {
            let least = self.settings.min_concurrency.max(1);
            match self.probes.step_ended(slowness, least, self.limit, now) {
                Next::Step | Next::Abandoned => self.paces.forget_window(),
                Next::Learned => self.paces.window_ended(Trust::Full),
                Next::AtLeast => self.paces.window_ended(Trust::Downwards),
            }
        } else {
            self.judge(&window, slowness);
        }
    }

    /// Sets the limit anew by what a window outside of probes showed.
    fn judge(&mut self, window: &Window, slowness: Option<f64>) {
        let is_in_use = window.most_in_flight * 2 >= self.limit();
        let slowness = slowness.filter(|_| is_in_use);
        let is_fast = slowness.is_some_and(|slowness| slowness < probe::FASTER);
        self.fast = if is_fast { self.fast + 1 } else { 0 };
        self.paces.window_ended(match is_in_use {
            true if self.fast >= LASTING => Trust::Full,
            true => Trust::None,
            false => Trust::Some,
        });
        let is_pressed = |slowness| window.shed > 0 || slowness > TOLERANCE;
        let is_pressed = slowness.is_some_and(is_pressed);
        self.probes.saw(is_pressed, window.most_in_flight);
        if let Some(slowness) = slowness {
            let gradient = (TOLERANCE / slowness).clamp(0.5, 1.0);
            let wanted = self.limit * gradient + self.limit.sqrt();
            self.set_limit(self.limit + SMOOTHING * (wanted - self.limit));
        }
    }

    fn set_limit(&mut self, limit: f64) {
        let least = f64::from(self.settings.min_concurrency.max(1));
        let most = f64::from(self.settings.max_concurrency).max(least);
        self.limit = limit.clamp(least, most);
    }
}

/// Which part of the limit calls of a grade may fill.
fn share(criticality: Criticality) -> f64 {
    match criticality {
        Criticality::Sheddable => 0.4,
        Criticality::SheddablePlus => 0.6,
        Criticality::Critical => 0.8,
        Criticality::CriticalPlus => 1.0,
    }
}

#[cfg(test)]
mod tests;
