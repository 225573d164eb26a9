//! Which expectation is compared with what.

use weft_model::Span;
use weft_policy::code;

use super::{Mismatch, measure::Scope};
use crate::{
    spec::{Check, Expect},
    story::{CallStory, Story},
};

pub(super) struct Judge<'a> {
    pub story: &'a Story,
    pub mismatches: Vec<Mismatch>,
}

impl Judge<'_> {
    pub fn wrong(&mut self, what: &str, expected: impl ToString, found: impl ToString, span: Span) {
        self.mismatches.push(Mismatch {
            what: what.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
            span,
        });
    }

    pub fn expect(&mut self, kind: Option<usize>, expect: &Expect) {
        let scope = Scope::new(self.story, kind, expect);
        for (span, check) in &expect.checks {
            self.of_each_call(&scope, *span, check);
            self.of_all_calls(&scope, *span, check);
        }
    }

    /// What must hold for each call.
    fn of_each_call(&mut self, scope: &Scope<'_>, span: Span, check: &Check) {
        match check {
            Check::Status(codes) => self.status(scope, codes, span),
            Check::Reason(reason) => self.reason(scope, reason, span),
            Check::Text(fact, text) => self.text(scope, (*fact, text), span),
            Check::Each(fact, amount) => self.each_number(scope, *fact, amount, span),
            Check::AttemptsAt(times) => {
                self.times("attemptsAt", scope, times, span, |call| {
                    let starts = scope.starts_of(call).into_iter();
                    starts
                        .map(|start| start.saturating_sub(call.started))
                        .collect()
                });
            }
            Check::AttemptsApart(times) => {
                self.times("attemptsApart", scope, times, span, |call| {
                    let starts = scope.starts_of(call);
                    starts
                        .windows(2)
                        .map(|pair| pair[1].saturating_sub(pair[0]))
                        .collect()
                });
            }
            Check::Endpoints(names) => self.endpoints(scope, names, span),
            Check::PreviousAttempts(numbers) => self.previous_attempts(scope, numbers, span),
            Check::ReceivedHeaders(headers) => {
                self.headers("receivedHeaders", scope, headers, span, |call, name| {
                    joined(&scope.attempts_of(call).last()?.headers, name)
                });
            }
            Check::ResponseHeaders(headers) => {
                self.headers("responseHeaders", scope, headers, span, |call, name| {
                    joined(&call.response_headers, name)
                });
            }
            Check::RateLimit(facts) => self.rate_limit(scope, facts, span),
            _ => {}
        }
    }

    /// What is one number over all calls, or one for each endpoint.
    fn of_all_calls(&mut self, scope: &Scope<'_>, span: Span, check: &Check) {
        let story = scope.story;
        match check {
            Check::Calls(amount) => self.number("calls", scope.calls.len() as f64, amount, span),
            Check::Statuses(amounts) => {
                for (status, amount) in amounts {
                    let what = format!("status {}", code::name(*status));
                    let is_meant = |call: &CallStory| call.code() == Some(*status);
                    self.count(&what, scope, amount, span, is_meant);
                }
            }
            Check::Reasons(amounts) => {
                for (reason, amount) in amounts {
                    let what = format!("reason {reason}");
                    let is_meant = |call: &CallStory| call.reason() == Some(reason);
                    self.count(&what, scope, amount, span, is_meant);
                }
            }
            Check::Percentiles(percentiles) => {
                for (percent, amount) in percentiles {
                    let found = scope.percentile(*percent);
                    self.number(&format!("percentile {percent}"), found, amount, span);
                }
            }
            Check::Goodput(amount) => self.goodput(scope, amount, span),
            Check::Share(named) => self.share(scope, named, span),
            Check::Received(named) => {
                self.named("received", named, span, |name| scope.received(name));
            }
            Check::Copies(named) => self.named("copies", named, span, |name| scope.copies(name)),
            Check::Cancelled(named) => {
                self.named("cancelled", named, span, |name| scope.cancelled(name));
            }
            Check::Amplification(named) => {
                self.named("amplification", named, span, |name| {
                    scope.amplification(name)
                });
            }
            Check::Peak(named) => self.named("peak", named, span, |name| story.peak(name)),
            Check::Connections(named) => {
                self.named("connections", named, span, |name| {
                    story.most_connections(name)
                });
            }
            Check::EjectedCount(amount) => {
                self.number("ejected", story.ejections.len() as f64, amount, span);
            }
            Check::Ejected(expected) => self.ejected(scope, expected, span),
            _ => {}
        }
    }
}

fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let values = headers.iter().filter(|(known, _)| known == name);
    let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(","))
}
