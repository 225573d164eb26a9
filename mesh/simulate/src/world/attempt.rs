//! Attempts: how they are sent, what they come to, and how they are given back.

use weft_policy::{Admission, Attempt, AttemptEnd, Next, Outcome, Reason, code, retry::Pushback};

use super::*;
use crate::words::{Answer, show_time};

/// One attempt while it runs.
pub(super) struct Try {
    pub call: CallId,
    pub workload: usize,
    /// Taken when it is released.
    pub attempt: Option<Attempt>,
    pub is_waiting: bool,
    /// The connection its stream is on.
    pub connection: Option<u64>,
    pub work: Work,
    pub admission: Option<Admission>,
    pub answer: Answer,
    pub children: usize,
    pub child: Option<CallId>,
    /// What a refusal by the endpoint's sidecar or a fault says to the caller.
    pub said: Option<(Reason, String)>,
    pub story: AttemptStory,
}

/// Where a request is at its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    None,
    Queued,
    Busy,
}

impl Try {
    /// What came of the attempt, for the timeline.
    fn describe(&self, outcome: &Outcome) -> String {
        let name = &self.story.endpoint;
        match outcome {
            Outcome::Headers => format!("{name} answers with response headers"),
            Outcome::TrailersOnly { code, pushback } => {
                let why = self.said.as_ref();
                let why = why.map(|(reason, message)| format!(" ({reason}: {message})"));
                let pushback = match pushback {
                    Pushback::Absent => String::new(),
                    Pushback::Stop => ", pushback: never".to_owned(),
                    Pushback::Wait(wait) => format!(", pushback {}", show_time(*wait)),
                };
                let (code, why) = (code::name(*code), why.unwrap_or_default());
                format!("{name} answers {code}{why}{pushback}")
            }
            Outcome::ConnectFailed(why) => format!("no connection to {name}: {why}"),
            Outcome::Unreached(why) => format!("{name} was not reached: {why}"),
            Outcome::Refused(why) => format!("{name} did not process it: {why}"),
            Outcome::Broken(failure) => format!("{name} breaks: {failure}"),
            Outcome::TimedOut => format!("{name} took too long for one attempt"),
        }
    }
}

impl World<'_> {
    /// Makes an attempt that the engine has picked.
    pub(super) fn attempt(&mut self, call: CallId, attempt: Attempt) {
        let Some(&workload) = self.by_address.get(&attempt.endpoint.address) else {
            return;
        };
        let id = self.attempts.len();
        let story = self.attempt_story(call, &attempt);
        let run = &mut self.calls[call];
        let hedge = if run.open.is_empty() { "" } else { " (hedge)" };
        run.open.push(id);
        run.story.attempts.push(id);
        let (number, name) = (run.story.attempts.len(), story.endpoint.clone());
        let (fault, times_out_at) = (attempt.fault, attempt.times_out_at);
        self.attempts.push(Try {
            call,
            workload,
            attempt: Some(attempt),
            is_waiting: false,
            connection: None,
            work: Work::None,
            admission: None,
            answer: Answer::ok(),
            children: 0,
            child: None,
            said: None,
            story,
        });
        self.tell(call, || format!("attempt {number}{hedge} to {name}"));
        if let Some(end) = times_out_at {
            self.at(self.since_base(end), Event::TimedOut(id));
        }
        self.plan_hedge(call);
        match fault.delay {
            Some(delay) => {
                self.tell(call, || format!("fault: {} delay", show_time(delay)));
                self.after(delay, Event::Send(id));
            }
            None => self.send(id),
        }
    }

    fn attempt_story(&self, call: CallId, attempt: &Attempt) -> AttemptStory {
        let run = &self.calls[call];
        let workload = self.by_address.get(&attempt.endpoint.address);
        let service = workload.map(|index| self.workloads[*index].service.clone());
        AttemptStory {
            call,
            endpoint: attempt.endpoint.instance.clone(),
            service: service.unwrap_or_default(),
            started: self.now,
            previous: attempt.previous_attempts,
            is_copy: run.is_copy,
            is_original: run.is_original,
            received: None,
            headers: run.headers.clone(),
            deadline_left: None,
            pushback: None,
            rate_limit: None,
            caller_rule: String::new(),
            would_be_refused: None,
            criticality: None,
            is_cancelled: false,
        }
    }

    pub(super) fn send(&mut self, id: AttemptId) {
        let attempt = self.attempts[id].attempt.as_ref();
        let Some(attempt) =
            attempt.filter(|_| self.calls[self.attempts[id].call].story.end.is_none())
        else {
            return;
        };
        match attempt.fault.abort {
            Some(code) => {
                let message = "the mesh file asks for this failure".to_owned();
                self.attempts[id].said = Some((Reason::FaultInjected, message));
                let pushback = Pushback::Absent;
                self.ended(id, &Outcome::TrailersOnly { code, pushback });
            }
            None => self.connect(id),
        }
    }

    pub(super) fn timed_out(&mut self, id: AttemptId) {
        let attempt = &self.attempts[id];
        let is_answered = self.calls[attempt.call]
            .call
            .as_ref()
            .is_some_and(|call| !call.may_repeat());
        if attempt.attempt.is_some() && !is_answered {
            self.ended(id, &Outcome::TimedOut);
        }
    }

    /// An attempt came to something before the caller has seen anything of it.
    pub(super) fn ended(&mut self, id: AttemptId, outcome: &Outcome) {
        let now = self.instant();
        let attempt = &self.attempts[id];
        let owner = attempt.call;
        let run = &mut self.calls[owner];
        let (Some(call), Some(attempt)) = (&mut run.call, &attempt.attempt) else {
            return;
        };
        let end = AttemptEnd {
            is_replayable: run.is_replayable,
            now,
        };
        let engine = &mut self.proxies[run.proxy].engine;
        let next = engine.attempt_ended(call, attempt, outcome, end, &mut self.rng);
        let proxy = run.proxy;
        self.watch_ejections(proxy);
        self.tell_end(id, outcome, &next);
        self.plan_hedge(owner);
        match (next, outcome) {
            (Next::Forward, Outcome::Headers) => self.cancel_others(owner, Some(id)),
            (Next::Forward | Next::Fail(_), Outcome::TrailersOnly { code, .. }) => {
                let said = self.attempts[id].said.take();
                let (reason, message) = said.unwrap_or((Reason::Answered, String::new()));
                self.release(id);
                self.over(owner, *code, reason, message);
            }
            (Next::RetryAt(at), _) => {
                self.release(id);
                self.plan(owner, at, false);
            }
            (Next::Fail(failure), _) => {
                self.release(id);
                self.fail(owner, failure);
            }
            (Next::Await | Next::Forward, _) => self.release(id),
        }
    }

    fn tell_end(&mut self, id: AttemptId, outcome: &Outcome, next: &Next) {
        if !self.is_told {
            return;
        }
        let attempt = &self.attempts[id];
        let (call, what) = (attempt.call, attempt.describe(outcome));
        let next = match next {
            Next::Forward => "that is the answer".to_owned(),
            Next::RetryAt(at) => format!("next attempt at {}", show_time(self.since_base(*at))),
            Next::Await => "waits for other attempts".to_owned(),
            Next::Fail(failure) => format!("gives up ({})", failure.reason),
        };
        self.tell(call, || format!("{what}; {next}"));
    }

    pub(super) fn cancel_others(&mut self, id: CallId, winner: Option<AttemptId>) {
        let open = self.calls[id].open.clone();
        for attempt in open.into_iter().filter(|attempt| Some(*attempt) != winner) {
            let story = &mut self.attempts[attempt].story;
            story.is_cancelled = true;
            let name = story.endpoint.clone();
            self.tell(id, || format!("the attempt at {name} is cancelled"));
            self.release(attempt);
        }
    }

    /// An attempt's stream is over, however it ended.
    pub(super) fn release(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts[id].attempt.take() else {
            return;
        };
        let call = self.attempts[id].call;
        let run = &mut self.calls[call];
        run.open.retain(|open| *open != id);
        let proxy = run.proxy;
        let address = attempt.endpoint.address;
        self.proxies[proxy].engine.release(attempt);
        self.leave_workload(id);
        self.leave_connection(proxy, address, id);
    }
}
