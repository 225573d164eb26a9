//! The executor of outbound calls: the loop that `weft_policy`'s docs of `Call` describe.

use std::borrow::Cow;

use weft_model::dataplane::{Backend, HeaderChanges};
use weft_policy::{
    Admission, Attempt, AttemptEnd, Call, Failure, Headers, Next, Outcome, Pick, Reason,
    RequestFacts, code, deadline::format_timeout, retry::Pushback,
};

use super::*;
use crate::{
    spec::{Callee, Starts},
    story::End,
    words::{Answer, show_time},
};

/// How long a client waits at least before it calls again after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// One call while it runs.
pub(super) struct Run {
    pub proxy: usize,
    pub call: Option<Call>,
    pub story: CallStory,
    /// Attempts under way.
    pub open: Vec<AttemptId>,
    /// Counts plans to pick, so that an old one is known as such.
    plan: u64,
    /// Whether it waits for an endpoint, which a new configuration may bring.
    is_held: bool,
    /// The request at whose workload it began.
    pub parent: Option<AttemptId>,
    /// The same for all calls that one call led to.
    pub trace: u128,
    is_original: bool,
    is_copy: bool,
    is_replayable: bool,
    headers: Vec<(String, String)>,
}

impl Run {
    pub fn into_story(self) -> CallStory {
        let mut story = self.story;
        if let Some(call) = &self.call {
            story.record_attempts = call.record.attempts;
            story.transparent_retries = call.record.transparent_retries;
            story.hedges = call.record.hedges;
            story.rule = call.record.rule.to_string();
            story.route = call.record.route.as_deref().unwrap_or("none").to_owned();
            change_headers(&mut story.response_headers, &call.response_headers);
        }
        story
    }
}

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

/// A call that begins.
struct Beginning {
    kind: Option<usize>,
    proxy: usize,
    from: String,
    callee: Callee,
    timeout: Option<Duration>,
    is_retry: bool,
    is_replayable: bool,
    headers: Vec<(String, String)>,
    parent: Option<AttemptId>,
    trace: Option<u128>,
    is_original: bool,
}

impl World<'_> {
    pub(super) fn start(&mut self, kind: usize) {
        let spec = &self.case.calls[kind];
        let number = self.counts.entry(kind).or_default();
        *number += 1;
        let number = *number;
        let proxy = self.caller(&spec.from, &spec.locality);
        let call = self.begin(Beginning {
            kind: Some(kind),
            proxy,
            from: spec.from.clone(),
            callee: spec.callee.clone(),
            timeout: spec.timeout,
            is_retry: spec.is_retry,
            is_replayable: spec.is_replayable,
            headers: numbered(&spec.headers, number),
            parent: None,
            trace: None,
            is_original: true,
        });
        if let Some(wait) = spec.cancel_after {
            self.after(wait, Event::Cancel(call));
        }
    }

    /// A workload's own call while it works on a request.
    pub(super) fn begin_child(&mut self, parent: AttemptId, callee: Callee) -> CallId {
        let request = &self.attempts[parent];
        let workload = &self.workloads[request.workload];
        let now = self.base + self.now;
        let trace = self.calls[request.call].trace;
        let admission = request.admission.as_ref();
        let criticality = admission.map(|a| {
            (
                "x-weft-criticality".to_owned(),
                a.criticality.as_str().to_owned(),
            )
        });
        self.begin(Beginning {
            kind: None,
            proxy: workload.proxy,
            from: workload.endpoint.instance.clone(),
            callee,
            timeout: admission.and_then(|admission| admission.deadline.remaining(now)),
            is_retry: workload.marks.is_repeated(trace, now),
            is_replayable: true,
            headers: criticality.into_iter().collect(),
            parent: Some(parent),
            trace: Some(trace),
            is_original: request.story.is_original,
        })
    }

    fn begin(&mut self, beginning: Beginning) -> CallId {
        let id = self.calls.len();
        let now = self.instant();
        let timeout = beginning.timeout.map(format_timeout);
        let facts = RequestFacts {
            authority: &beginning.callee.authority,
            path: &beginning.callee.path,
            grpc_timeout: timeout.as_deref(),
            is_retry: beginning.is_retry,
            headers: &Lookup(&beginning.headers),
        };
        let engine = &mut self.proxies[beginning.proxy].engine;
        let admitted = engine.admit(facts, now, &mut self.rng);
        let path = beginning.callee.path.clone();
        let mut run = Run {
            proxy: beginning.proxy,
            call: None,
            story: CallStory {
                kind: beginning.kind,
                path: path.clone(),
                from: beginning.from,
                started: self.now,
                attempts: Vec::new(),
                record_attempts: 0,
                transparent_retries: 0,
                hedges: 0,
                rule: String::new(),
                route: String::new(),
                response_headers: Vec::new(),
                end: None,
            },
            open: Vec::new(),
            plan: 0,
            is_held: false,
            parent: beginning.parent,
            trace: beginning.trace.unwrap_or(id as u128 + 1),
            is_original: beginning.is_original,
            is_copy: false,
            is_replayable: beginning.is_replayable,
            headers: beginning.headers,
        };
        match admitted {
            Err(failure) => {
                self.calls.push(run);
                self.tell(id, || format!("{path} is refused at once: {failure}"));
                self.over(id, failure.code, failure.reason, failure.message);
            }
            Ok(call) => {
                let copies = call.copies.clone();
                let (deadline, rule) = (call.deadline, call.record.rule.clone());
                change_headers(&mut run.headers, &call.request_headers);
                run.call = Some(call);
                self.calls.push(run);
                self.tell(id, || {
                    let left = deadline.remaining(now);
                    let left = left.map_or("no deadline".to_owned(), |left| {
                        format!("{} left", show_time(left))
                    });
                    format!("{path} by rule {rule}, {left}")
                });
                if let Some(end) = deadline.instant() {
                    self.at(self.since_base(end), Event::Deadline(id));
                }
                for backend in &copies {
                    self.copy(id, backend);
                }
                self.pick(id);
            }
        }
        id
    }

    fn copy(&mut self, of: CallId, backend: &Backend) {
        let now = self.instant();
        let run = &self.calls[of];
        let Some(call) = &run.call else { return };
        let admitted = self.proxies[run.proxy]
            .engine
            .admit_copy(call, backend, now);
        let copy = match admitted {
            Ok(copy) => copy,
            Err(failure) => {
                return self.tell(of, || {
                    format!("no copy to {}: {failure}", backend.authority)
                });
            }
        };
        let id = self.calls.len();
        let deadline = copy.deadline.instant();
        let copy = Run {
            proxy: run.proxy,
            call: Some(copy),
            story: CallStory {
                kind: None,
                path: run.story.path.clone(),
                from: run.story.from.clone(),
                started: self.now,
                attempts: Vec::new(),
                record_attempts: 0,
                transparent_retries: 0,
                hedges: 0,
                rule: String::new(),
                route: String::new(),
                response_headers: Vec::new(),
                end: None,
            },
            open: Vec::new(),
            plan: 0,
            is_held: false,
            parent: None,
            trace: run.trace,
            is_original: run.is_original,
            is_copy: true,
            is_replayable: run.is_replayable,
            headers: run.headers.clone(),
        };
        self.calls.push(copy);
        self.tell(of, || format!("copy to {}", backend.authority));
        if let Some(end) = deadline {
            self.at(self.since_base(end), Event::Deadline(id));
        }
        self.pick(id);
    }

    fn plan(&mut self, id: CallId, at: Instant, is_held: bool) {
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

    fn pick(&mut self, id: CallId) {
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

    fn attempt(&mut self, call: CallId, attempt: Attempt) {
        let Some(&workload) = self.by_address.get(&attempt.endpoint.address) else {
            return;
        };
        let id = self.attempts.len();
        let run = &mut self.calls[call];
        let is_hedge = !run.open.is_empty();
        run.open.push(id);
        run.story.attempts.push(id);
        let number = run.story.attempts.len();
        let story = AttemptStory {
            call,
            endpoint: attempt.endpoint.instance.clone(),
            service: self.workloads[workload].service.clone(),
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
        };
        let (fault, times_out_at) = (attempt.fault, attempt.times_out_at);
        let hedge_at = run.call.as_ref().and_then(Call::hedge_at);
        let name = story.endpoint.clone();
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
        self.tell(call, || {
            let hedge = if is_hedge { " (hedge)" } else { "" };
            format!("attempt {number}{hedge} to {name}")
        });
        if let Some(end) = times_out_at {
            self.at(self.since_base(end), Event::TimedOut(id));
        }
        if let Some(at) = hedge_at {
            self.at(self.since_base(at), Event::Hedge(call));
        }
        match fault.delay {
            Some(delay) => {
                self.tell(call, || format!("fault: {} delay", show_time(delay)));
                self.after(delay, Event::Send(id));
            }
            None => self.send(id),
        }
    }

    pub(super) fn hedge(&mut self, id: CallId) {
        let (now, run) = (self.base + self.now, &self.calls[id]);
        let due = run.call.as_ref().and_then(Call::hedge_at);
        if run.is_replayable && run.story.end.is_none() && due.is_some_and(|due| due <= now) {
            self.pick(id);
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
        let hedge_at = call.hedge_at();
        let proxy = run.proxy;
        self.watch_ejections(proxy);
        self.tell_end(id, outcome, &next);
        if let Some(at) = hedge_at {
            self.at(self.since_base(at), Event::Hedge(owner));
        }
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
        let name = &attempt.story.endpoint;
        let what = match outcome {
            Outcome::Headers => format!("{name} answers with response headers"),
            Outcome::TrailersOnly { code, pushback } => {
                let why = attempt
                    .said
                    .as_ref()
                    .map(|(reason, message)| format!(" ({reason}: {message})"));
                let pushback = match pushback {
                    Pushback::Absent => String::new(),
                    Pushback::Stop => ", pushback: never".to_owned(),
                    Pushback::Wait(wait) => format!(", pushback {}", show_time(*wait)),
                };
                format!(
                    "{name} answers {}{}{pushback}",
                    code::name(*code),
                    why.unwrap_or_default()
                )
            }
            Outcome::ConnectFailed(why) => format!("no connection to {name}: {why}"),
            Outcome::Unreached(why) => format!("{name} was not reached: {why}"),
            Outcome::Refused(why) => format!("{name} did not process it: {why}"),
            Outcome::Broken(failure) => format!("{name} breaks: {failure}"),
            Outcome::TimedOut => format!("{name} took too long for one attempt"),
        };
        let next = match next {
            Next::Forward => "that is the answer".to_owned(),
            Next::RetryAt(at) => format!("next attempt at {}", show_time(self.since_base(*at))),
            Next::Await => "waits for other attempts".to_owned(),
            Next::Fail(failure) => format!("gives up ({})", failure.reason),
        };
        let call = attempt.call;
        self.tell(call, || format!("{what}; {next}"));
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
        let now = self.instant();
        if self.calls[id].story.end.is_some() {
            return;
        }
        self.tell(id, || {
            let why = if reason == Reason::Answered {
                String::new()
            } else {
                format!(" ({reason}: {message})")
            };
            format!("ends with {}{why}", code::name(code))
        });
        let run = &mut self.calls[id];
        run.is_held = false;
        run.story.end = Some(End {
            at: self.now,
            code,
            reason: reason.as_str().to_owned(),
            message,
        });
        let broken = matches!(
            reason,
            Reason::UpstreamReset | Reason::UpstreamProtocolError
        );
        if let Some(call) = &mut run.call {
            let engine = &mut self.proxies[run.proxy].engine;
            engine.finished(call, code, broken, now);
            if code != code::OK
                && call.retries_are_spent()
                && let Some(parent) = run.parent
            {
                let index = self.attempts[parent].workload;
                self.workloads[index].marks.spent(run.trace, now);
            }
        }
        let proxy = run.proxy;
        self.watch_ejections(proxy);
        self.cancel_others(id, None);
        let run = &self.calls[id];
        let (parent, kind) = (run.parent, run.story.kind);
        if let Some(parent) = parent {
            self.child_over(parent, code);
        }
        if let Some(kind) = kind
            && let Starts::Clients { until, pause, .. } = self.case.calls[kind].starts
            && self.now < until
        {
            // Without any pause time would stand still where calls fail at once.
            let pause = if code == code::OK {
                pause
            } else {
                pause.max(AFTER_FAILURE)
            };
            self.after(pause, Event::Start(kind));
        }
    }

    fn cancel_others(&mut self, id: CallId, winner: Option<AttemptId>) {
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

/// `{n}` in a header's value is the number of the call among those of its kind.
fn numbered(headers: &[(String, String)], number: u32) -> Vec<(String, String)> {
    let number = number.to_string();
    let header = |(name, value): &(String, String)| (name.clone(), value.replace("{n}", &number));
    headers.iter().map(header).collect()
}

/// Headers as the engine asks for them.
pub(super) struct Lookup<'a>(pub &'a [(String, String)]);

impl Headers for Lookup<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (_, first) = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |all, (_, next)| {
            Cow::Owned(format!("{all},{next}"))
        }))
    }
}

fn change_headers(headers: &mut Vec<(String, String)>, changes: &HeaderChanges) {
    for (name, value) in &changes.set {
        headers.retain(|(known, _)| known != name);
        headers.push((name.clone(), value.clone()));
    }
    headers.extend(changes.add.iter().cloned());
    headers.retain(|(name, _)| !changes.remove.contains(name));
}
