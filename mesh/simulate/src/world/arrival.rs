//! What happens to a request at an endpoint before the workload has it: its sidecar's inbound engine.

use weft_policy::{
    InboundFacts, Outcome, Refusal, RetryAdvice, code, deadline::format_timeout, retry::Pushback,
};

use super::{attempt::Work, call::Lookup, *};
use crate::words::Reply;

impl World<'_> {
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
                self.refused(id, *refusal);
                false
            }
        }
    }

    fn refused(&mut self, id: AttemptId, refusal: Refusal) {
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
    }
}
