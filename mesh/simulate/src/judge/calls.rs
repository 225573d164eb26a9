//! What must hold for each call.

use std::time::Duration;

use weft_model::Span;
use weft_policy::code;

use super::{check::Judge, measure::Scope};
use crate::{
    spec::{Fact, PerCall, RateLimitFact},
    story::CallStory,
    words::{Amount, show_time},
};

impl Judge<'_> {
    pub fn status(&mut self, scope: &Scope<'_>, codes: &[i32], span: Span) {
        let names: Vec<_> = codes.iter().map(|code| code::name(*code)).collect();
        let is_right = |call: &CallStory| call.code().is_some_and(|code| codes.contains(&code));
        let what = ("status", names.join(" or "), span);
        self.each(scope, what, is_right, show_end);
    }

    pub fn reason(&mut self, scope: &Scope<'_>, reason: &str, span: Span) {
        let is_right = |call: &CallStory| call.reason() == Some(reason);
        let what = ("reason", reason.to_owned(), span);
        self.each(scope, what, is_right, show_end);
    }

    pub fn text(&mut self, scope: &Scope<'_>, (fact, text): (Fact, &str), span: Span) {
        let (what, is_part) = fact_name(fact);
        let is_right = |call: &CallStory| match scope.text(call, fact) {
            Some(found) if is_part => found.contains(text),
            found => found == Some(text),
        };
        self.each(scope, (what, text.to_owned(), span), is_right, |call| {
            scope.text(call, fact).unwrap_or("nothing").to_owned()
        });
    }

    pub fn previous_attempts(&mut self, scope: &Scope<'_>, numbers: &[u32], span: Span) {
        let previous = |call: &CallStory| -> Vec<u32> {
            let attempts = scope.attempts_of(call);
            attempts.map(|attempt| attempt.previous).collect()
        };
        let is_right = |call: &CallStory| previous(call) == *numbers;
        let what = ("previousAttempts", format!("{numbers:?}"), span);
        self.each(scope, what, is_right, |call| {
            format!("{:?}", previous(call))
        });
    }

    fn each(
        &mut self,
        scope: &Scope<'_>,
        (what, expected, span): (&str, String, Span),
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

    pub fn each_number(&mut self, scope: &Scope<'_>, fact: PerCall, amount: &Amount, span: Span) {
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
        self.each(scope, (what, amount.to_string(), span), is_right, |call| {
            number(call).map_or("nothing".to_owned(), |number| amount.unit.show(number))
        });
    }

    pub fn times(
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
        self.each(scope, (what, expected, span), is_right, |call| {
            let texts: Vec<_> = found(call).into_iter().map(show_time).collect();
            format!("[{}]", texts.join(", "))
        });
    }

    pub fn endpoints(&mut self, scope: &Scope<'_>, names: &[Vec<String>], span: Span) {
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
        self.each(scope, ("endpoints", expected, span), is_right, |call| {
            format!("[{}]", found(call).join(", "))
        });
    }

    pub fn headers(
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
            self.each(scope, (&what, shown, span), is_right, |call| {
                show(find(call, name))
            });
        }
    }

    pub fn rate_limit(&mut self, scope: &Scope<'_>, facts: &[(RateLimitFact, Amount)], span: Span) {
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
            self.each(scope, (&what, amount.to_string(), span), is_right, |call| {
                number(call).map_or("no limit".to_owned(), |n| amount.unit.show(n))
            });
        }
    }
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
