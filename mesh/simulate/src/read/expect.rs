//! `expect`: what must have happened.

use weft_model::{
    Problem, Spanned,
    yaml::{Node, Value},
};

use super::Reader;
use crate::{
    spec::{Check, Expect, Fact, PerCall},
    words::{Amount, Unit},
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

type Read = fn(&mut Reader<'_>, &Node) -> Option<Check>;

/// Everything else.
const OTHERS: [(&str, Read); 13] = [
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
        let either =
            |text: &Spanned<String>| text.split('|').map(|name| name.trim().to_owned()).collect();
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
        for (key, read) in OTHERS {
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
}
