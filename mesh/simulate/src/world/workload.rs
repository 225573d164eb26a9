//! What happens to a request at an endpoint: its sidecar's inbound engine, then the workload.

use weft_policy::{
    Failure, InboundFacts, LoadReport, Outcome, Reason, RetryAdvice, code,
    deadline::format_timeout, retry::Pushback,
};

use super::{attempt::Work, call::Lookup, *};
use crate::words::{Answer, Reply};

impl World<'_> {
    /// What the endpoint's script has for the next request.
    pub(super) fn next_reply(&self, id: AttemptId) -> Reply {
        self.present_reply(self.attempts[id].workload)
    }

    /// What an endpoint does now.
    pub(super) fn present_reply(&self, index: usize) -> Reply {
        let workload = &self.workloads[index];
        let answers = &workload.behaviour.answers;
        let step = workload.step.0.min(answers.len().saturating_sub(1));
        let answer = answers.get(step);
        answer.map_or(Reply::Status(code::OK), |answer| answer.reply)
    }

    /// Takes the next step of the endpoint's script for a request.
    pub(super) fn take_answer(&mut self, id: AttemptId) {
        let workload = &mut self.workloads[self.attempts[id].workload];
        let answers = &workload.behaviour.answers;
        let step = workload.step.0.min(answers.len().saturating_sub(1));
        let is_last = step + 1 == answers.len();
        let Some(answer) = answers.get(step) else {
            return;
        };
        workload.step.1 += 1;
        if workload.step.1 >= answer.times {
            let starts_over = is_last && workload.behaviour.is_cycle;
            workload.step = (if starts_over { 0 } else { step + 1 }, 0);
        }
        let mut answer = answer.clone();
        if let Some((share, status)) = workload.behaviour.fail
            && self.dice.random_range(0.0..1.0) < share
        {
            answer = Answer {
                reply: Reply::Status(status),
                ..Answer::ok()
            };
        }
        self.attempts[id].answer = answer;
    }

    /// The request reaches the endpoint's sidecar.
    pub(super) fn arrive(&mut self, id: AttemptId) {
        match self.next_reply(id) {
            Reply::GoesAway => {
                self.take_answer(id);
                let why = "the connection is closing".to_owned();
                return self.ended(id, &Outcome::Refused(why));
            }
            Reply::Unreached => {
                self.take_answer(id);
                let why = "the sidecar cannot reach its workload".to_owned();
                return self.ended(id, &Outcome::Unreached(why));
            }
            _ => {}
        }
        self.received(id);
        if !self.admit_inbound(id) {
            return;
        }
        let index = self.attempts[id].workload;
        let workload = &mut self.workloads[index];
        workload.open += 1;
        let most = self.story.peaks.entry(workload.endpoint.instance.clone());
        let most = most.or_default();
        *most = workload.open.max(*most);
        let is_free = workload
            .behaviour
            .workers
            .is_none_or(|workers| workload.busy < workers);
        let has_room = workload.queue.len() < workload.behaviour.queue as usize;
        self.attempts[id].work = Work::Queued;
        workload.queue.push_back(id);
        if is_free {
            self.work_on_next(index);
        } else if !has_room {
            self.reply(id, code::RESOURCE_EXHAUSTED);
        }
    }

    fn received(&mut self, id: AttemptId) {
        let attempt = &self.attempts[id];
        let run = &self.calls[attempt.call];
        let earlier = run.story.attempts.iter();
        let is_first = earlier
            .filter(|other| **other != id)
            .all(|other| self.attempts[*other].story.received.is_none());
        let now = self.base + self.now;
        let left = run
            .call
            .as_ref()
            .and_then(|call| call.deadline.remaining(now));
        let story = &mut self.attempts[id].story;
        story.is_original &= is_first;
        story.received = Some(self.now);
        story.deadline_left = left;
    }

    /// Asks the inbound engine, and answers for it where it says no.
    fn admit_inbound(&mut self, id: AttemptId) -> bool {
        let now = self.instant();
        let attempt = &self.attempts[id];
        let run = &self.calls[attempt.call];
        let timeout = attempt.story.deadline_left.map(format_timeout);
        let headers = &attempt.story.headers;
        let criticality = headers
            .iter()
            .find(|(name, _)| name == "x-weft-criticality");
        let facts = InboundFacts {
            caller: &self.proxies[run.proxy].identity,
            path: &run.story.path,
            grpc_timeout: timeout.as_deref(),
            criticality: criticality.map(|(_, value)| value.as_str()),
            headers: &Lookup(headers),
        };
        let trace = run.trace;
        let workload = &mut self.workloads[attempt.workload];
        let admitted = workload.inbound.admit(facts, now, &mut self.rng);
        if attempt.story.previous > 0 {
            workload.marks.repeated(trace, now);
        }
        match admitted {
            Ok(admission) => {
                let attempt = &mut self.attempts[id];
                let story = &mut attempt.story;
                story.rate_limit.clone_from(&admission.rate_limit);
                story.caller_rule = admission.record.rule.to_string();
                story.criticality = Some(admission.criticality.as_str());
                let refusal = admission.would_be_refused.as_ref();
                story.would_be_refused = refusal.map(|failure| failure.message.clone());
                attempt.admission = Some(admission);
                true
            }
            Err(refusal) => {
                let pushback = match refusal.retry {
                    None => Pushback::Absent,
                    Some(RetryAdvice::Never) => Pushback::Stop,
                    Some(RetryAdvice::After(wait)) => Pushback::Wait(wait),
                };
                let attempt = &mut self.attempts[id];
                if let Pushback::Wait(wait) = pushback {
                    attempt.story.pushback = Some(wait);
                }
                attempt.story.rate_limit = refusal.rate_limit;
                attempt.story.caller_rule = refusal.record.rule.to_string();
                attempt.said = Some((refusal.failure.reason, refusal.failure.message));
                let code = refusal.failure.code;
                self.ended(id, &Outcome::TrailersOnly { code, pushback });
                false
            }
        }
    }

    fn work_on_next(&mut self, index: usize) {
        let workload = &mut self.workloads[index];
        let is_free = workload
            .behaviour
            .workers
            .is_none_or(|workers| workload.busy < workers);
        if !is_free {
            return;
        }
        let Some(id) = workload.queue.pop_front() else {
            return;
        };
        workload.busy += 1;
        self.attempts[id].work = Work::Busy;
        self.take_answer(id);
        let answer = &self.attempts[id].answer;
        if answer.reply == Reply::Never && !answer.headers_first {
            return;
        }
        let spread = answer
            .after
            .unwrap_or(self.workloads[index].behaviour.latency);
        let latency = self.between(spread);
        self.after(latency, Event::Worked(id));
    }

    /// The workload's own part is done: then come its calls, in turn, then the answer.
    pub(super) fn worked(&mut self, id: AttemptId) {
        let attempt = &self.attempts[id];
        if attempt.work != Work::Busy {
            return;
        }
        let behaviour = &self.workloads[attempt.workload].behaviour;
        if let Some(callee) = behaviour.calls.get(attempt.children).cloned() {
            self.attempts[id].children += 1;
            let child = self.begin_child(id, callee);
            if self.calls[child].story.end.is_none() {
                self.attempts[id].child = Some(child);
            }
            return;
        }
        self.answer(id);
    }

    /// A call that the workload made for a request is over.
    pub(super) fn child_over(&mut self, parent: AttemptId, code: i32) {
        self.attempts[parent].child = None;
        if self.attempts[parent].work != Work::Busy {
            return;
        }
        if code == code::OK {
            self.after(Duration::ZERO, Event::Worked(parent));
        } else {
            self.reply(parent, code);
        }
    }

    fn answer(&mut self, id: AttemptId) {
        let answer = &self.attempts[id].answer;
        match answer.reply {
            Reply::Status(code) if code != code::OK && !answer.headers_first => {
                self.reply(id, code)
            }
            Reply::Resets if !answer.headers_first => {
                self.leave_workload(id);
                self.ended(id, &Outcome::Broken(reset()));
            }
            reply => {
                let now = self.instant();
                let request = &self.attempts[id];
                if let Some(admission) = &request.admission {
                    self.workloads[request.workload]
                        .inbound
                        .answered(admission, now);
                }
                self.ended(id, &Outcome::Headers);
                let stream = self.workloads[self.attempts[id].workload].behaviour.stream;
                if reply == Reply::Never {
                    return;
                }
                if stream.is_zero() {
                    self.stream_ends(id);
                } else {
                    self.after(stream, Event::StreamEnds(id));
                }
            }
        }
    }

    /// An answer without a stream.
    fn reply(&mut self, id: AttemptId, code: i32) {
        let now = self.instant();
        let request = &self.attempts[id];
        let mut pushback = request.answer.pushback;
        let trace = self.calls[request.call].trace;
        if self.workloads[request.workload].marks.is_spent(trace, now) {
            pushback = Pushback::Stop;
        }
        self.report_load(id);
        self.settle(id, code);
        self.ended(id, &Outcome::TrailersOnly { code, pushback });
    }

    pub(super) fn stream_ends(&mut self, id: AttemptId) {
        let attempt = &self.attempts[id];
        if attempt.attempt.is_none() {
            return;
        }
        let (call, reply) = (attempt.call, attempt.answer.reply);
        self.report_load(id);
        match reply {
            Reply::Status(code) => {
                self.settle(id, code);
                self.release(id);
                self.over(call, code, Reason::Answered, String::new());
            }
            _ => {
                self.release(id);
                self.fail(call, reset());
            }
        }
    }

    fn report_load(&mut self, id: AttemptId) {
        let now = self.instant();
        let attempt = &self.attempts[id];
        let report: Option<LoadReport> = self.workloads[attempt.workload].behaviour.load;
        let proxy = self.calls[attempt.call].proxy;
        if let (Some(report), Some(attempt)) = (report, &attempt.attempt) {
            self.proxies[proxy].engine.load_report(attempt, report, now);
        }
    }

    /// The request left the workload without its doing: its caller cancelled, or it broke.
    pub(super) fn leave_workload(&mut self, id: AttemptId) {
        self.settle(id, code::CANCELLED);
        if let Some(child) = self.attempts[id].child.take() {
            self.cancel(child);
        }
    }

    /// The workload is done with a request: the next one has its turn.
    fn settle(&mut self, id: AttemptId, code: i32) {
        let now = self.instant();
        let attempt = &mut self.attempts[id];
        let work = std::mem::replace(&mut attempt.work, Work::None);
        let (index, admission) = (attempt.workload, attempt.admission.take());
        let workload = &mut self.workloads[index];
        if let Some(admission) = admission {
            workload.inbound.finished(&admission, code, now);
            workload.open = workload.open.saturating_sub(1);
        }
        match work {
            Work::None => {}
            Work::Queued => workload.queue.retain(|queued| *queued != id),
            Work::Busy => {
                workload.busy = workload.busy.saturating_sub(1);
                self.work_on_next(index);
            }
        }
    }
}

fn reset() -> Failure {
    Failure::new(Reason::UpstreamReset, "the connection broke")
}
