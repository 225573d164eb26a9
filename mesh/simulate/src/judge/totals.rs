//! Numbers over all calls, or of each endpoint.

use std::{collections::BTreeMap, time::Duration};

use weft_model::Span;

use super::{check::Judge, measure::Scope};
use crate::{
    spec::Ejected,
    story::CallStory,
    words::{Amount, Unit, show_time},
};

impl Judge<'_> {
    /// How many calls are meant, or their share.
    pub fn count(
        &mut self,
        what: &str,
        scope: &Scope<'_>,
        amount: &Amount,
        span: Span,
        is_meant: impl Fn(&CallStory) -> bool,
    ) {
        let count = scope.calls_where(is_meant) as f64;
        let all = scope.calls.len().max(1) as f64;
        let found = if amount.unit == Unit::Share {
            count / all
        } else {
            count
        };
        self.number(what, found, amount, span);
    }

    pub fn share(&mut self, scope: &Scope<'_>, named: &[(String, Amount)], span: Span) {
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

    pub fn goodput(&mut self, scope: &Scope<'_>, amount: &Amount, span: Span) {
        let found = scope.goodput(amount.unit == Unit::Share);
        self.number("goodput", found, amount, span);
    }

    pub fn named(
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

    pub fn number(&mut self, what: &str, found: f64, amount: &Amount, span: Span) {
        if !amount.holds(found) {
            self.wrong(what, amount, amount.unit.show(found), span);
        }
    }

    pub fn ejected(&mut self, scope: &Scope<'_>, expected: &[Ejected], span: Span) {
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
