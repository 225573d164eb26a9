//! What a workload does with a request: it works, calls others, answers.

use weft_policy::{Failure, LoadReport, Outcome, Reason, code, retry::Pushback};

use super::{attempt::Work, *};
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

    pub(super) fn work_on_next(&mut self, index: usize) {
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
            self.attempts[id].child = self.begin_child(id, callee);
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
    pub(super) fn reply(&mut self, id: AttemptId, code: i32) {
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
