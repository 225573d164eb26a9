//! `expect`: what must have happened.

use weft_model::{
    Problem, Span, Spanned,
    yaml::{Node, Value},
};

use super::Reader;
use crate::{
    spec::{Check, Ejected, Expect, Fact, PerCall, RateLimitFact},
    words::{Amount, Spread, Unit},
};

type Named = Vec<(String, Amount)>;
type MakeNamed = fn(Named) -> Check;

const PER_CALL: [(&str, PerCall, Unit); 6] = [
    ("attempts", PerCall::Attempts, Unit::Count),
    (
        "transparentRetries",
        PerCall::TransparentRetries,
        Unit::Count,
    ),
    ("hedges", PerCall::Hedges, Unit::Count),
    ("took", PerCall::Took, Unit::Time),
    ("deadlineLeft", PerCall::DeadlineLeft, Unit::Time),
    ("pushback", PerCall::Pushback, Unit::Time),
];

const FACTS: [(&str, Fact); 6] = [
    ("message", Fact::Message),
    ("rule", Fact::Rule),
    ("route", Fact::Route),
    ("callerRule", Fact::CallerRule),
    ("wouldBeRefused", Fact::WouldBeRefused),
    ("criticality", Fact::Criticality),
];

/// Amounts by endpoint or service.
const NAMED: [(&str, MakeNamed, &[Unit]); 7] = [
    ("share", Check::Share, &[Unit::Share, Unit::Count]),
    ("received", Check::Received, &[Unit::Count]),
    ("copies", Check::Copies, &[Unit::Count]),
    ("cancelled", Check::Cancelled, &[Unit::Count]),
    ("amplification", Check::Amplification, &[Unit::Times]),
    ("peak", Check::Peak, &[Unit::Count]),
    ("connections", Check::Connections, &[Unit::Count]),
];

const RATE_LIMIT: [(&str, RateLimitFact, Unit); 3] = [
    ("limit", RateLimitFact::Limit, Unit::Count),
    ("remaining", RateLimitFact::Remaining, Unit::Count),
    ("reset", RateLimitFact::Reset, Unit::Time),
];

impl Reader<'_> {
    /// One expectation or a list of them.
    pub(super) fn expects(&mut self, node: &Node) -> Vec<Expect> {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.expect(item)).collect(),
            _ => vec![self.expect(node)],
        }
    }

    fn expect(&mut self, node: &Node) -> Expect {
        let mut fields = self.decoder.fields(node, "`expect`");
        let during = fields.take("during").and_then(|node| {
            let spread = self.spread(node, "`during`")?;
            Some((spread.low, spread.high))
        });
        let only = fields.take("only");
        let only = only.and_then(|node| self.decoder.text(node, "`only`"));
        let only = only.and_then(|name| self.status(&name));
        let mut checks = Vec::new();
        for (key, kind, unit) in PER_CALL {
            if let Some(node) = fields.take(key)
                && let Some(amount) = self.amount(node, key, &[unit])
            {
                checks.push((node.span, Check::Each(kind, amount)));
            }
        }
        for (key, fact) in FACTS {
            if let Some(node) = fields.take(key)
                && let Some(text) = self.decoder.text(node, key)
            {
                checks.push((node.span, Check::Text(fact, text.value)));
            }
        }
        for (key, make, units) in NAMED {
            if let Some(node) = fields.take(key) {
                let named = self.named(node, key, units);
                checks.push((node.span, make(named)));
            }
        }
        type Read = fn(&mut Reader<'_>, &Node) -> Option<Check>;
        let others: [(&str, Read); 13] = [
            ("status", |reader, node| reader.expect_status(node)),
            ("reason", |reader, node| reader.expect_reason(node)),
            ("attemptsAt", |reader, node| {
                Some(Check::AttemptsAt(reader.times(node, "`attemptsAt`")))
            }),
            ("attemptsApart", |reader, node| {
                Some(Check::AttemptsApart(reader.times(node, "`attemptsApart`")))
            }),
            ("endpoints", |reader, node| {
                let names = reader.decoder.texts(node, "`endpoints`").into_iter();
                let either = |text: &Spanned<String>| {
                    text.split('|').map(|name| name.trim().to_owned()).collect()
                };
                Some(Check::Endpoints(names.map(|text| either(&text)).collect()))
            }),
            ("previousAttempts", |reader, node| {
                let items = reader.decoder.list(node, "`previousAttempts`").iter();
                let numbers = items.filter_map(|n| reader.small(n, "`previousAttempts`", 0));
                Some(Check::PreviousAttempts(numbers.collect()))
            }),
            ("calls", |reader, node| {
                let amount = reader.amount(node, "`calls`", &[Unit::Count])?;
                Some(Check::Calls(amount))
            }),
            ("percentiles", |reader, node| Some(reader.percentiles(node))),
            ("goodput", |reader, node| {
                let units = [Unit::Rate, Unit::Share];
                Some(Check::Goodput(reader.amount(node, "`goodput`", &units)?))
            }),
            ("ejected", |reader, node| reader.expect_ejected(node)),
            ("receivedHeaders", |reader, node| {
                Some(Check::ReceivedHeaders(reader.expect_headers(node)))
            }),
            ("responseHeaders", |reader, node| {
                Some(Check::ResponseHeaders(reader.expect_headers(node)))
            }),
            ("rateLimit", |reader, node| reader.expect_rate_limit(node)),
        ];
        for (key, read) in others {
            if let Some(node) = fields.take(key)
                && let Some(check) = read(self, node)
            {
                checks.push((node.span, check));
            }
        }
        let (span, is_broken) = (fields.span, fields.is_broken());
        fields.finish(self.decoder);
        if checks.is_empty() && !is_broken {
            let problem = Problem::new("missing-key", span, "`expect` expects nothing");
            self.decoder.report(problem);
        }
        Expect {
            during,
            only,
            checks,
        }
    }

    /// `{a: 3, b: <15%}`, or an amount alone for all together.
    fn named(&mut self, node: &Node, what: &'static str, units: &[Unit]) -> Named {
        let Value::Map(_) = node.value else {
            let amount = self.amount(node, what, units);
            return amount
                .map(|amount| (String::new(), amount))
                .into_iter()
                .collect();
        };
        let mut named = Vec::new();
        for (name, node) in self.decoder.fields(node, what).rest() {
            if let Some(amount) = self.amount(node, &name.value, units) {
                named.push((name.value.clone(), amount));
            }
        }
        named
    }

    fn times(&mut self, node: &Node, what: &str) -> Vec<Amount> {
        let items = self.decoder.list(node, what).iter();
        let times = items.filter_map(|node| self.amount(node, what, &[Unit::Time]));
        times.collect()
    }

    /// A code, a list of which any will do, or how many calls ended with which.
    fn expect_status(&mut self, node: &Node) -> Option<Check> {
        if let Value::Map(_) = node.value {
            let mut statuses = Vec::new();
            for (name, node) in self.decoder.fields(node, "`status`").rest() {
                let amount = self.amount(node, &name.value, &[Unit::Count, Unit::Share]);
                if let (Some(status), Some(amount)) = (self.status(name), amount) {
                    statuses.push((status, amount));
                }
            }
            return Some(Check::Statuses(statuses));
        }
        let names = match &node.value {
            Value::List(_) => self.decoder.texts(node, "`status`"),
            _ => vec![self.decoder.text(node, "`status`")?],
        };
        let statuses = names.iter().filter_map(|name| self.status(name));
        Some(Check::Status(statuses.collect()))
    }

    fn expect_reason(&mut self, node: &Node) -> Option<Check> {
        if let Value::Map(_) = node.value {
            let mut reasons = Vec::new();
            for (name, node) in self.decoder.fields(node, "`reason`").rest() {
                let amount = self.amount(node, &name.value, &[Unit::Count, Unit::Share])?;
                reasons.push((name.value.clone(), amount));
            }
            return Some(Check::Reasons(reasons));
        }
        let reason = self.decoder.text(node, "`reason`")?;
        Some(Check::Reason(reason.value))
    }

    /// `{50: 10ms, 99: <50ms}`
    fn percentiles(&mut self, node: &Node) -> Check {
        let mut percentiles = Vec::new();
        for (key, node) in self.decoder.fields(node, "`percentiles`").rest() {
            let amount = self.amount(node, "a percentile", &[Unit::Time]);
            match key.parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => {
                    percentiles.extend(amount.map(|amount| (percent, amount)));
                }
                _ => {
                    let message = format!("`{}` is no percentile", key.value);
                    let problem = Problem::new("wrong-value", key.span, message);
                    self.decoder.report(problem.hint("such as `99: <50ms`"));
                }
            }
        }
        Check::Percentiles(percentiles)
    }

    /// How many, or `[a]`, or `{a: 40ms..30s}` with both ends as times or as `{from: ..., until: ...}`.
    fn expect_ejected(&mut self, node: &Node) -> Option<Check> {
        if matches!(node.value, Value::Integer(_) | Value::Text(_)) {
            let amount = self.amount(node, "`ejected`", &[Unit::Count])?;
            return Some(Check::EjectedCount(amount));
        }
        let Value::Map(_) = node.value else {
            let names = self.decoder.texts(node, "`ejected`").into_iter();
            return Some(Check::Ejected(
                names
                    .map(|name| Ejected {
                        endpoint: name.value,
                        times: None,
                    })
                    .collect(),
            ));
        };
        let mut ejected = Vec::new();
        for (name, node) in self.decoder.fields(node, "`ejected`").rest() {
            let times = match &node.value {
                Value::List(items) => items.iter().filter_map(|n| self.ejection(n)).collect(),
                _ => self.ejection(node).into_iter().collect(),
            };
            ejected.push(Ejected {
                endpoint: name.value.clone(),
                times: Some(times),
            });
        }
        Some(Check::Ejected(ejected))
    }

    fn ejection(&mut self, node: &Node) -> Option<(Amount, Amount)> {
        if let Value::Map(_) = node.value {
            let mut fields = self.decoder.fields(node, "the ejection");
            let mut part = |key| {
                let node = fields.require(self.decoder, key)?;
                self.amount(node, key, &[Unit::Time])
            };
            let (from, until) = (part("from"), part("until"));
            fields.finish(self.decoder);
            return Some((from?, until?));
        }
        let text = self.decoder.text(node, "`ejected`")?;
        let both = Spread::parse(&text).and_then(|_| {
            let (from, until) = text.split_once("..")?;
            Some((Amount::parse(from)?, Amount::parse(until)?))
        });
        if both.is_none() {
            self.no_ejection(text.span);
        }
        both
    }

    fn no_ejection(&mut self, span: Span) {
        let problem = Problem::new("wrong-value", span, "the ejection has no beginning and end");
        self.decoder
            .report(problem.hint("`40ms..30.04s`, or `{ from: 40ms..60ms, until: at least 30s }`"));
    }

    /// What a header must be; nothing: it must not be there.
    fn expect_headers(&mut self, node: &Node) -> Vec<(String, Option<String>)> {
        let mut headers = Vec::new();
        for (name, node) in self.decoder.fields(node, "`receivedHeaders`").rest() {
            let value = match node.value {
                Value::Null => None,
                _ => self.number_text(node, "a header").map(|text| text.value),
            };
            headers.push((name.to_lowercase(), value));
        }
        headers
    }

    fn expect_rate_limit(&mut self, node: &Node) -> Option<Check> {
        let mut fields = self.decoder.fields(node, "`rateLimit`");
        let mut facts = Vec::new();
        for (key, fact, unit) in RATE_LIMIT {
            if let Some(node) = fields.take(key)
                && let Some(amount) = self.amount(node, key, &[unit])
            {
                facts.push((fact, amount));
            }
        }
        fields.finish(self.decoder);
        Some(Check::RateLimit(facts))
    }
}
