//! The numbers of a story, for the calls that an expectation is about.

use std::{collections::BTreeMap, time::Duration};

use weft_policy::code;

use crate::{
    spec::{Expect, Fact, PerCall},
    story::{AttemptStory, CallStory, Story},
};

/// The calls and attempts an expectation is about.
pub(super) struct Scope<'a> {
    pub story: &'a Story,
    pub calls: Vec<&'a CallStory>,
    attempts: Vec<&'a AttemptStory>,
    length: Duration,
}

impl<'a> Scope<'a> {
    pub fn new(story: &'a Story, kind: Option<usize>, expect: &Expect) -> Self {
        let during = expect.during;
        let (from, until) = during.unwrap_or((Duration::ZERO, story.ended));
        let is_meant = |call: &CallStory| {
            let code = call.end.as_ref().map(|end| end.code);
            expect.only.is_none_or(|only| code == Some(only))
        };
        let is_within = |time: Duration| time >= from && (during.is_none() || time < until);
        let calls = story.calls.iter().filter(|call| match kind {
            Some(_) => call.kind == kind,
            None => call.kind.is_some(),
        });
        let attempts = story
            .attempts
            .iter()
            .filter(|attempt| kind.is_none() || story.calls[attempt.call].kind == kind);
        Self {
            story,
            calls: calls
                .filter(|call| is_within(call.started) && is_meant(call))
                .collect(),
            attempts: attempts
                .filter(|attempt| is_within(attempt.started))
                .collect(),
            length: until.saturating_sub(from),
        }
    }

    pub fn attempts_of(&self, call: &CallStory) -> impl Iterator<Item = &'a AttemptStory> {
        let story = self.story;
        let attempts: Vec<_> = call
            .attempts
            .iter()
            .map(|index| &story.attempts[*index])
            .collect();
        attempts.into_iter()
    }

    pub fn starts_of(&self, call: &CallStory) -> Vec<Duration> {
        self.attempts_of(call)
            .map(|attempt| attempt.started)
            .collect()
    }

    pub fn calls_where(&self, is_meant: impl Fn(&CallStory) -> bool) -> usize {
        self.calls.iter().filter(|call| is_meant(call)).count()
    }

    pub fn number(&self, call: &CallStory, fact: PerCall) -> Option<f64> {
        Some(match fact {
            PerCall::Attempts => f64::from(call.record_attempts),
            PerCall::TransparentRetries => f64::from(call.transparent_retries),
            PerCall::Hedges => f64::from(call.hedges),
            PerCall::Took => call
                .end
                .as_ref()?
                .at
                .saturating_sub(call.started)
                .as_secs_f64(),
            PerCall::DeadlineLeft => self.attempts_of(call).last()?.deadline_left?.as_secs_f64(),
            PerCall::Pushback => self.attempts_of(call).last()?.pushback?.as_secs_f64(),
        })
    }

    pub fn text<'b>(&'b self, call: &'b CallStory, fact: Fact) -> Option<&'b str> {
        let last = || self.attempts_of(call).last();
        match fact {
            Fact::Message => call.end.as_ref().map(|end| end.message.as_str()),
            Fact::Rule => Some(&call.rule),
            Fact::Route => Some(&call.route),
            Fact::CallerRule => last().map(|attempt| attempt.caller_rule.as_str()),
            Fact::WouldBeRefused => last()?.would_be_refused.as_deref(),
            Fact::Criticality => last()?.criticality,
        }
    }

    pub fn percentile(&self, percent: f64) -> f64 {
        let times = self
            .calls
            .iter()
            .filter_map(|call| self.number(call, PerCall::Took));
        let mut times: Vec<_> = times.collect();
        times.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into `times`"
        )]
        let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
        times
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::INFINITY)
    }

    /// The attempts at an endpoint, or at a service's, and at all of its service.
    pub fn share(&self, name: &str) -> (f64, f64) {
        let own = || self.attempts.iter().filter(|attempt| !attempt.is_copy);
        let mut some = own().filter(|attempt| is_at(attempt, name));
        let count = some.clone().count();
        let service = match some.next() {
            Some(attempt) if attempt.endpoint == name => Some(&attempt.service),
            _ => None,
        };
        let all = own().filter(|attempt| service.is_none_or(|service| attempt.service == *service));
        (count as f64, all.count() as f64)
    }

    pub fn received(&self, name: &str) -> f64 {
        self.count(|attempt| attempt.received.is_some() && !attempt.is_copy && is_at(attempt, name))
    }

    pub fn copies(&self, name: &str) -> f64 {
        self.count(|attempt| attempt.received.is_some() && attempt.is_copy && is_at(attempt, name))
    }

    pub fn cancelled(&self, name: &str) -> f64 {
        self.count(|attempt| attempt.is_cancelled && is_at(attempt, name))
    }

    fn count(&self, is_meant: impl Fn(&AttemptStory) -> bool) -> f64 {
        self.attempts
            .iter()
            .filter(|attempt| is_meant(attempt))
            .count() as f64
    }

    /// Requests received per request that no retry led to.
    pub fn amplification(&self, name: &str) -> f64 {
        let mut services: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for attempt in self
            .attempts
            .iter()
            .filter(|a| a.received.is_some() && !a.is_copy)
        {
            let (all, original) = services.entry(&attempt.service).or_default();
            *all += 1.0;
            *original += f64::from(u8::from(attempt.is_original));
        }
        let meant = services
            .iter()
            .filter(|(service, _)| name.is_empty() || **service == name);
        meant
            .map(|(_, (all, original))| all / original.max(1.0))
            .fold(0.0, f64::max)
    }

    /// Calls that ended well within the time, per second, or as a share of the capacity of the services
    /// that were called.
    pub fn goodput(&self, of_capacity: bool) -> f64 {
        let good =
            self.calls_where(|call| call.end.as_ref().is_some_and(|end| end.code == code::OK));
        let rate = good as f64 / self.length.as_secs_f64().max(1e-9);
        if !of_capacity {
            return rate;
        }
        let called = self.calls.iter().flat_map(|call| &call.attempts);
        let mut services: Vec<_> = called
            .map(|index| &self.story.attempts[*index].service)
            .collect();
        services.sort();
        services.dedup();
        let capacity = services
            .iter()
            .filter_map(|service| self.story.capacity.get(*service));
        rate / capacity.sum::<f64>().max(1e-9)
    }
}

/// Of an endpoint, of a service, or, without a name, of all.
fn is_at(attempt: &AttemptStory, name: &str) -> bool {
    name.is_empty() || attempt.endpoint == name || attempt.service == name
}
