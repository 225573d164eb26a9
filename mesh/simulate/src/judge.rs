//! Whether what happened is what was expected, and in words if it is not.

mod measure;

use std::{collections::BTreeMap, time::Duration};

use weft_model::Span;
use weft_policy::code;

use crate::{
    judge::measure::Scope,
    spec::{Case, Check, Ejected, Expect, PerCall, RateLimitFact, Suite},
    story::{CallStory, Story},
    words::{Amount, Unit, show_time},
    world,
};

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// What was not as expected. Empty: the case passed.
    pub mismatches: Vec<Mismatch>,
    /// How many calls were made.
    pub calls: usize,
    /// How much time went by for them.
    pub virtual_time: Duration,
    /// What happened, if it was asked for or something is not as expected.
    pub timeline: Vec<TimelineLine>,
}

/// One thing that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of the expectation.
    pub what: String,
    /// As it is written.
    pub expected: String,
    /// What there was instead.
    pub found: String,
    /// Where the expectation is written.
    pub span: Span,
}

/// One line of the timeline of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineLine {
    /// Since the beginning.
    pub at: Duration,
    /// The call, counted from 1.
    pub call: usize,
    /// What happened.
    pub text: String,
}

/// A timeline of more calls would help nobody: these are the first that matter.
const TOLD_CALLS: usize = 5;

impl Suite {
    /// Plays one case of this file. `is_told`: with its timeline, also if it passes.
    pub fn run(&self, case: &Case, is_told: bool) -> Outcome {
        let story = world::run(self, case, is_told);
        let mismatches = judge(case, &story);
        if mismatches.is_empty() || is_told {
            return outcome(case, &story, mismatches);
        }
        // Most cases pass and need no timeline: it costs more than the rest. A case is always the same.
        outcome(case, &world::run(self, case, true), mismatches)
    }
}

fn outcome(case: &Case, story: &Story, mismatches: Vec<Mismatch>) -> Outcome {
    let told = told_calls(case, story);
    let lines = story.lines.iter().filter(|line| told.contains(&line.call));
    let timeline = lines.map(|line| TimelineLine {
        at: line.at,
        call: line.call + 1,
        text: line.text.clone(),
    });
    Outcome {
        mismatches,
        calls: story
            .calls
            .iter()
            .filter(|call| call.kind.is_some())
            .count(),
        virtual_time: story.ended,
        timeline: timeline.collect(),
    }
}

/// Of many calls, those that are not as each should be come first.
fn told_calls(case: &Case, story: &Story) -> Vec<usize> {
    let odd = |call: &CallStory| {
        let own = call.kind.map(|kind| &case.calls[kind].expect);
        let expects = own.into_iter().flatten().chain(&case.expect);
        expects
            .flat_map(|expect| &expect.checks)
            .any(|(_, check)| match check {
                Check::Status(codes) => call
                    .end
                    .as_ref()
                    .is_none_or(|end| !codes.contains(&end.code)),
                _ => false,
            })
    };
    let calls = || story.calls.iter().enumerate();
    let first = calls()
        .filter(|(_, call)| odd(call))
        .map(|(index, _)| index);
    let mut told: Vec<_> = first.take(TOLD_CALLS).collect();
    let others = calls()
        .map(|(index, _)| index)
        .filter(|index| !told.contains(index));
    let others: Vec<_> = others.take(TOLD_CALLS - told.len()).collect();
    told.extend(others);
    told
}

fn judge(case: &Case, story: &Story) -> Vec<Mismatch> {
    let mut judge = Judge {
        story,
        mismatches: Vec::new(),
    };
    if story.is_endless {
        judge.wrong(
            "case",
            "an end",
            "no end: calls go on for ever",
            case.name.span,
        );
        return judge.mismatches;
    }
    for expect in &case.expect {
        judge.expect(None, expect);
    }
    for (kind, call) in case.calls.iter().enumerate() {
        for expect in &call.expect {
            judge.expect(Some(kind), expect);
        }
    }
    judge.mismatches
}

struct Judge<'a> {
    story: &'a Story,
    mismatches: Vec<Mismatch>,
}

impl Judge<'_> {
    fn wrong(&mut self, what: &str, expected: impl ToString, found: impl ToString, span: Span) {
        self.mismatches.push(Mismatch {
            what: what.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
            span,
        });
    }

    fn expect(&mut self, kind: Option<usize>, expect: &Expect) {
        let scope = Scope::new(self.story, kind, expect.during);
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
            Check::Message(part) => {
                let is_right = |call: &CallStory| {
                    call.end
                        .as_ref()
                        .is_some_and(|end| end.message.contains(part.as_str()))
                };
                self.each(scope, ("message", part, span), is_right, |call| {
                    call.end
                        .as_ref()
                        .map_or(String::new(), |end| format!("{:?}", end.message))
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
            Check::AttemptsAt(times) => self.attempts_at(scope, times, span),
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
            Check::ReceivedHeaders(headers) => self.received_headers(scope, headers, span),
            Check::RateLimit(facts) => self.rate_limit(scope, facts, span),
            _ => self.check_numbers(scope, span, check),
        }
    }

    /// What is one number over all calls, or one for each endpoint.
    fn check_numbers(&mut self, scope: &Scope<'_>, span: Span, check: &Check) {
        match check {
            Check::Calls(amount) => self.number("calls", scope.calls.len() as f64, amount, span),
            Check::Percentile(percent, amount) => {
                let found = scope.percentile(*percent);
                self.number(&format!("p{percent}"), found, amount, span);
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

    fn attempts_at(&mut self, scope: &Scope<'_>, times: &[Amount], span: Span) {
        let found = |call: &CallStory| -> Vec<Duration> {
            let attempts = scope.attempts_of(call);
            attempts
                .map(|attempt| attempt.started.saturating_sub(call.started))
                .collect()
        };
        let is_right = |call: &CallStory| {
            let found = found(call);
            found.len() == times.len()
                && found
                    .iter()
                    .zip(times)
                    .all(|(found, time)| time.holds(found.as_secs_f64()))
        };
        let texts: Vec<_> = times.iter().map(ToString::to_string).collect();
        let expected = format!("[{}]", texts.join(", "));
        self.each(scope, ("attemptsAt", &expected, span), is_right, |call| {
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

    fn received_headers(
        &mut self,
        scope: &Scope<'_>,
        headers: &[(String, Option<String>)],
        span: Span,
    ) {
        for (name, expected) in headers {
            let found = |call: &CallStory| -> Option<String> {
                let last = scope.attempts_of(call).last()?;
                let values = last.headers.iter().filter(|(known, _)| known == name);
                let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
                (!values.is_empty()).then(|| values.join(","))
            };
            let show = |value: Option<String>| value.unwrap_or("no such header".to_owned());
            let what = format!("receivedHeaders {name}");
            let is_right = |call: &CallStory| found(call) == *expected;
            self.each(
                scope,
                (&what, &show(expected.clone()), span),
                is_right,
                |call| show(found(call)),
            );
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
