//! Each kind of expectation against what happened.

use std::{collections::BTreeMap, time::Duration};

use weft_model::Span;
use weft_policy::code;

use super::{Mismatch, measure::Scope};
use crate::{
    spec::{Check, Ejected, Expect, Fact, PerCall, RateLimitFact},
    story::{CallStory, Story},
    words::{Amount, Unit, show_time},
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
            self.check(&scope, *span, check);
        }
    }

    fn check(&mut self, scope: &Scope<'_>, span: Span, check: &Check) {
        match check {
            Check::Status(codes) => {
                let names: Vec<_> = codes.iter().map(|code| code::name(*code)).collect();
                let is_right =
                    |call: &CallStory| end_code(call).is_some_and(|c| codes.contains(&c));
                self.each(
                    scope,
                    ("status", &names.join(" or "), span),
                    is_right,
                    show_end,
                );
            }
            Check::Reason(reason) => {
                let is_right =
                    |call: &CallStory| call.end.as_ref().is_some_and(|end| end.reason == *reason);
                self.each(scope, ("reason", reason, span), is_right, show_end);
            }
            Check::Text(fact, text) => {
                let (what, is_part) = fact_name(*fact);
                let is_right = |call: &CallStory| match scope.text(call, *fact) {
                    Some(found) if is_part => found.contains(text.as_str()),
                    found => found == Some(text.as_str()),
                };
                self.each(scope, (what, text, span), is_right, |call| {
                    scope.text(call, *fact).unwrap_or("nothing").to_owned()
                });
            }
            Check::Statuses(amounts) => {
                for (code, amount) in amounts {
                    let count = scope.calls_where(|call| end_code(call) == Some(*code));
                    let what = format!("status {}", code::name(*code));
                    self.of_calls(scope, &what, count, amount, span);
                }
            }
            Check::Reasons(amounts) => {
                for (reason, amount) in amounts {
                    let count = scope.calls_where(|call| {
                        call.end.as_ref().is_some_and(|end| end.reason == *reason)
                    });
                    self.of_calls(scope, &format!("reason {reason}"), count, amount, span);
                }
            }
            Check::Each(fact, amount) => self.each_number(scope, *fact, amount, span),
            Check::AttemptsAt(times) => {
                self.times("attemptsAt", scope, times, span, |call| {
                    let attempts = scope.attempts_of(call);
                    attempts
                        .map(|attempt| attempt.started.saturating_sub(call.started))
                        .collect()
                });
            }
            Check::AttemptsApart(times) => {
                self.times("attemptsApart", scope, times, span, |call| {
                    let starts: Vec<_> = scope
                        .attempts_of(call)
                        .map(|attempt| attempt.started)
                        .collect();
                    starts
                        .windows(2)
                        .map(|pair| pair[1].saturating_sub(pair[0]))
                        .collect()
                });
            }
            Check::Endpoints(names) => self.endpoints(scope, names, span),
            Check::PreviousAttempts(numbers) => {
                let previous = |call: &CallStory| -> Vec<u32> {
                    scope
                        .attempts_of(call)
                        .map(|attempt| attempt.previous)
                        .collect()
                };
                let is_right = |call: &CallStory| previous(call) == *numbers;
                let expected = format!("{numbers:?}");
                self.each(
                    scope,
                    ("previousAttempts", &expected, span),
                    is_right,
                    |call| format!("{:?}", previous(call)),
                );
            }
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
            _ => self.check_numbers(scope, span, check),
        }
    }

    /// What is one number over all calls, or one for each endpoint.
    fn check_numbers(&mut self, scope: &Scope<'_>, span: Span, check: &Check) {
        match check {
            Check::Calls(amount) => self.number("calls", scope.calls.len() as f64, amount, span),
            Check::Percentiles(percentiles) => {
                for (percent, amount) in percentiles {
                    let found = scope.percentile(*percent);
                    self.number(&format!("percentile {percent}"), found, amount, span);
                }
            }
            Check::Share(named) => {
                for (name, amount) in named {
                    let (some, all) = scope.share(name);
                    let found = if amount.unit == Unit::Share {
                        some / all.max(1.0)
                    } else {
                        some
                    };
                    self.number(&format!("share of {name}"), found, amount, span);
                }
            }
            Check::Received(named) => {
                self.named("received", named, span, |name| scope.received(name))
            }
            Check::Copies(named) => self.named("copies", named, span, |name| scope.copies(name)),
            Check::Cancelled(named) => {
                self.named("cancelled", named, span, |name| scope.cancelled(name))
            }
            Check::Amplification(named) => {
                self.named("amplification", named, span, |name| {
                    scope.amplification(name)
                });
            }
            Check::Goodput(amount) => {
                let found = scope.goodput(amount.unit == Unit::Share);
                self.number("goodput", found, amount, span);
            }
            Check::Peak(named) => {
                let peaks = &scope.story.peaks;
                self.named("peak", named, span, |name| most(peaks, name));
            }
            Check::Connections(named) => {
                let connections = &scope.story.connections;
                self.named("connections", named, span, |name| most(connections, name));
            }
            Check::EjectedCount(amount) => {
                self.number("ejected", scope.story.ejections.len() as f64, amount, span);
            }
            Check::Ejected(expected) => self.ejected(scope, expected, span),
            _ => {}
        }
    }

    fn each(
        &mut self,
        scope: &Scope<'_>,
        (what, expected, span): (&str, &str, Span),
        is_right: impl Fn(&CallStory) -> bool,
        show: impl Fn(&CallStory) -> String,
    ) {
        let wrong: Vec<_> = scope.calls.iter().filter(|call| !is_right(call)).collect();
        let Some(first) = wrong.first() else {
            // A condition on each of no calls would hold whatever happened.
            if scope.calls.is_empty() {
                self.wrong(what, expected, "no call at all", span);
            }
            return;
        };
        let found = if scope.calls.len() == 1 {
            show(first)
        } else {
            let at = show_time(first.started);
            format!(
                "{} ({} of {} calls, the first at {at})",
                show(first),
                wrong.len(),
                scope.calls.len()
            )
        };
        self.wrong(what, expected, found, span);
    }

    fn each_number(&mut self, scope: &Scope<'_>, fact: PerCall, amount: &Amount, span: Span) {
        let what = match fact {
            PerCall::Attempts => "attempts",
            PerCall::TransparentRetries => "transparentRetries",
            PerCall::Hedges => "hedges",
            PerCall::Took => "took",
            PerCall::DeadlineLeft => "deadlineLeft",
            PerCall::Pushback => "pushback",
        };
        let number = |call: &CallStory| scope.number(call, fact);
        let is_right = |call: &CallStory| number(call).is_some_and(|number| amount.holds(number));
        self.each(scope, (what, &amount.to_string(), span), is_right, |call| {
            number(call).map_or("nothing".to_owned(), |number| amount.unit.show(number))
        });
    }

    fn times(
        &mut self,
        what: &str,
        scope: &Scope<'_>,
        times: &[Amount],
        span: Span,
        found: impl Fn(&CallStory) -> Vec<Duration>,
    ) {
        let is_right = |call: &CallStory| {
            let found = found(call);
            let pairs = || found.iter().zip(times);
            found.len() == times.len()
                && pairs().all(|(found, time)| time.holds(found.as_secs_f64()))
        };
        let texts: Vec<_> = times.iter().map(ToString::to_string).collect();
        let expected = format!("[{}]", texts.join(", "));
        self.each(scope, (what, &expected, span), is_right, |call| {
            let texts: Vec<_> = found(call).into_iter().map(show_time).collect();
            format!("[{}]", texts.join(", "))
        });
    }

    fn endpoints(&mut self, scope: &Scope<'_>, names: &[Vec<String>], span: Span) {
        let found = |call: &CallStory| -> Vec<String> {
            scope
                .attempts_of(call)
                .map(|attempt| attempt.endpoint.clone())
                .collect()
        };
        let is_right = |call: &CallStory| {
            let found = found(call);
            found.len() == names.len()
                && found
                    .iter()
                    .zip(names)
                    .all(|(name, any)| any.contains(name))
        };
        let texts: Vec<_> = names.iter().map(|any| any.join("|")).collect();
        let expected = format!("[{}]", texts.join(", "));
        self.each(scope, ("endpoints", &expected, span), is_right, |call| {
            format!("[{}]", found(call).join(", "))
        });
    }

    fn headers(
        &mut self,
        what: &str,
        scope: &Scope<'_>,
        headers: &[(String, Option<String>)],
        span: Span,
        find: impl Fn(&CallStory, &str) -> Option<String>,
    ) {
        let show = |value: Option<String>| value.unwrap_or("no such header".to_owned());
        for (name, expected) in headers {
            let what = format!("{what} {name}");
            let is_right = |call: &CallStory| find(call, name) == *expected;
            let shown = show(expected.clone());
            self.each(scope, (&what, &shown, span), is_right, |call| {
                show(find(call, name))
            });
        }
    }

    fn rate_limit(&mut self, scope: &Scope<'_>, facts: &[(RateLimitFact, Amount)], span: Span) {
        for (fact, amount) in facts {
            let number = |call: &CallStory| {
                let status = scope.attempts_of(call).last()?.rate_limit.as_ref()?;
                Some(match fact {
                    RateLimitFact::Limit => f64::from(status.limit),
                    RateLimitFact::Remaining => f64::from(status.remaining),
                    RateLimitFact::Reset => status.reset.as_secs_f64(),
                })
            };
            let is_right = |call: &CallStory| number(call).is_some_and(|n| amount.holds(n));
            let what = format!("rateLimit {fact:?}").to_lowercase();
            self.each(
                scope,
                (&what, &amount.to_string(), span),
                is_right,
                |call| number(call).map_or("no limit".to_owned(), |n| amount.unit.show(n)),
            );
        }
    }

    fn of_calls(
        &mut self,
        scope: &Scope<'_>,
        what: &str,
        count: usize,
        amount: &Amount,
        span: Span,
    ) {
        let all = scope.calls.len().max(1) as f64;
        let found = if amount.unit == Unit::Share {
            count as f64 / all
        } else {
            count as f64
        };
        self.number(what, found, amount, span);
    }

    fn named(
        &mut self,
        what: &str,
        named: &[(String, Amount)],
        span: Span,
        found: impl Fn(&str) -> f64,
    ) {
        for (name, amount) in named {
            let what = if name.is_empty() {
                what.to_owned()
            } else {
                format!("{what} {name}")
            };
            self.number(&what, found(name), amount, span);
        }
    }

    fn number(&mut self, what: &str, found: f64, amount: &Amount, span: Span) {
        if !amount.holds(found) {
            self.wrong(what, amount, amount.unit.show(found), span);
        }
    }

    fn ejected(&mut self, scope: &Scope<'_>, expected: &[Ejected], span: Span) {
        let found = &scope.story.ejections;
        let is_meant = |name: &String| expected.iter().any(|ejected| ejected.endpoint == *name);
        for name in found.keys().filter(|name| !is_meant(name)) {
            let expected = format!("{name} never");
            self.wrong("ejected", expected, show_ejections(found, name), span);
        }
        for Ejected { endpoint, times } in expected {
            let ejections = found.get(endpoint).map(Vec::as_slice).unwrap_or_default();
            let holds =
                |((from, until), (first, last)): (&(Duration, Duration), &(Amount, Amount))| {
                    first.holds(from.as_secs_f64()) && last.holds(until.as_secs_f64())
                };
            let is_right = match times {
                None => !ejections.is_empty(),
                Some(times) => {
                    ejections.len() == times.len() && ejections.iter().zip(times).all(holds)
                }
            };
            if !is_right {
                let times = times.iter().flatten();
                let times: Vec<_> = times
                    .map(|(from, until)| format!("from {from} until {until}"))
                    .collect();
                let expected = format!("{endpoint} {}", times.join(" and "));
                self.wrong(
                    "ejected",
                    expected.trim(),
                    show_ejections(found, endpoint),
                    span,
                );
            }
        }
    }
}

fn show_ejections(found: &BTreeMap<String, Vec<(Duration, Duration)>>, name: &str) -> String {
    let Some(times) = found.get(name) else {
        return format!("{name} never");
    };
    let show = |(from, until): &(Duration, Duration)| {
        format!("from {} until {}", show_time(*from), show_time(*until))
    };
    let times: Vec<_> = times.iter().map(show).collect();
    format!("{name} {}", times.join(" and "))
}

fn most(most: &BTreeMap<String, u32>, name: &str) -> f64 {
    let all = most
        .iter()
        .filter(|(known, _)| name.is_empty() || *known == name);
    all.map(|(_, count)| f64::from(*count)).fold(0.0, f64::max)
}

fn end_code(call: &CallStory) -> Option<i32> {
    call.end.as_ref().map(|end| end.code)
}

fn show_end(call: &CallStory) -> String {
    match &call.end {
        None => "no end".to_owned(),
        Some(end) if end.message.is_empty() => format!("{}, {}", code::name(end.code), end.reason),
        Some(end) => format!("{}, {}: {}", code::name(end.code), end.reason, end.message),
    }
}

/// The key of a fact, and whether a part of it will do.
fn fact_name(fact: Fact) -> (&'static str, bool) {
    match fact {
        Fact::Message => ("message", true),
        Fact::Rule => ("rule", false),
        Fact::Route => ("route", false),
        Fact::CallerRule => ("callerRule", false),
        Fact::WouldBeRefused => ("wouldBeRefused", true),
        Fact::Criticality => ("criticality", false),
    }
}

fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let values = headers.iter().filter(|(known, _)| known == name);
    let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(","))
}
