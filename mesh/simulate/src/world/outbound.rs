//! The executor's loop, as `weft_policy`'s docs of `Call` describe it: pick, and how a call ends.

use weft_policy::{Call, Failure, Pick, Reason, code};

use super::*;
use crate::{spec::Starts, story::End, words::show_time};

/// How long a client waits at least before it calls again after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

impl World<'_> {
    /// Asks for an endpoint at an instant. `is_held`: or when endpoints come.
    pub(super) fn plan(&mut self, id: CallId, at: Instant, is_held: bool) {
        let run = &mut self.calls[id];
        run.plan += 1;
        run.is_held = is_held;
        let event = Event::Pick(id, run.plan);
        self.at(self.since_base(at), event);
    }

    pub(super) fn pick_as_planned(&mut self, id: CallId, plan: u64) {
        if self.calls[id].plan == plan {
            self.pick(id);
        }
    }

    /// Whoever waits for an endpoint may find one now.
    pub(super) fn configuration_changed(&mut self, proxy: usize) {
        for id in 0..self.calls.len() {
            if self.calls[id].is_held && self.calls[id].proxy == proxy {
                self.pick(id);
            }
        }
    }

    pub(super) fn pick(&mut self, id: CallId) {
        let now = self.instant();
        let run = &mut self.calls[id];
        run.plan += 1;
        run.is_held = false;
        if run.story.end.is_some() {
            return;
        }
        let Some(call) = &mut run.call else { return };
        let proxy = run.proxy;
        let picked = self.proxies[proxy].engine.pick(call, now, &mut self.rng);
        self.watch_ejections(proxy);
        // The first call of a target begins its health checks.
        self.plan_probes(proxy);
        let is_alone = self.calls[id].open.is_empty();
        match picked {
            Pick::Attempt(attempt) => self.attempt(id, attempt),
            Pick::Wait(until) if !is_alone => self.at(self.since_base(until), Event::Hedge(id)),
            Pick::Wait(until) => {
                let wait = self.since_base(until);
                self.tell(id, || {
                    format!("no endpoint yet, waits until {}", show_time(wait))
                });
                self.plan(id, until, true);
            }
            Pick::Fail(failure) if is_alone => self.fail(id, failure),
            Pick::Fail(failure) => self.tell(id, || format!("no further attempt: {failure}")),
        }
    }

    /// Another attempt is made besides those under way, if no answer has come by then.
    pub(super) fn plan_hedge(&mut self, id: CallId) {
        let due = self.calls[id].call.as_ref().and_then(Call::hedge_at);
        if let Some(at) = due {
            self.at(self.since_base(at), Event::Hedge(id));
        }
    }

    pub(super) fn hedge(&mut self, id: CallId) {
        let (now, run) = (self.base + self.now, &self.calls[id]);
        let due = run.call.as_ref().and_then(Call::hedge_at);
        if run.is_replayable && run.story.end.is_none() && due.is_some_and(|due| due <= now) {
            self.pick(id);
        }
    }

    pub(super) fn fail(&mut self, id: CallId, failure: Failure) {
        self.over(id, failure.code, failure.reason, failure.message);
    }

    pub(super) fn deadline(&mut self, id: CallId) {
        self.over(
            id,
            code::DEADLINE_EXCEEDED,
            Reason::DeadlineExceeded,
            "the deadline passed".to_owned(),
        );
    }

    pub(super) fn cancel(&mut self, id: CallId) {
        self.over(
            id,
            code::CANCELLED,
            Reason::Cancelled,
            "the caller went away".to_owned(),
        );
    }

    /// The call ends, once. What is still under way for it is cancelled.
    pub(super) fn over(&mut self, id: CallId, code: i32, reason: Reason, message: String) {
        if self.calls[id].story.end.is_some() {
            return;
        }
        self.tell(id, || match reason {
            Reason::Answered => format!("ends with {}", code::name(code)),
            _ => format!("ends with {} ({reason}: {message})", code::name(code)),
        });
        let run = &mut self.calls[id];
        run.is_held = false;
        run.story.end = Some(End {
            at: self.now,
            code,
            reason: reason.as_str().to_owned(),
            message,
        });
        let (proxy, parent, kind) = (run.proxy, run.parent, run.story.kind);
        self.finish(id, code, reason);
        self.watch_ejections(proxy);
        self.cancel_others(id, None);
        if let Some(parent) = parent {
            self.child_over(parent, code);
        }
        if let Some(kind) = kind {
            self.call_again(kind, code);
        }
    }

    /// Tells the engine, and the marks of the workload whose call it was.
    fn finish(&mut self, id: CallId, code: i32, reason: Reason) {
        let now = self.instant();
        let run = &mut self.calls[id];
        let Some(call) = &mut run.call else { return };
        let is_broken = matches!(
            reason,
            Reason::UpstreamReset | Reason::UpstreamProtocolError
        );
        let engine = &mut self.proxies[run.proxy].engine;
        engine.finished(call, code, is_broken, now);
        if code != code::OK
            && call.retries_are_spent()
            && let Some(parent) = run.parent
        {
            let index = self.attempts[parent].workload;
            self.workloads[index].marks.spent(run.trace, now);
        }
    }

    /// One of so many clients has its answer, and calls again.
    fn call_again(&mut self, kind: usize, code: i32) {
        let Starts::Clients { until, pause, .. } = self.case.calls[kind].starts else {
            return;
        };
        // Without any pause time would stand still where calls fail at once.
        let pause = match code {
            code::OK => pause,
            _ => pause.max(AFTER_FAILURE),
        };
        if self.now + pause < until {
            self.after(pause, Event::Start(kind));
        }
    }
}
