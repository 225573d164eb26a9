//! Expectations with a form of their own.

use weft_model::{
    Problem, Span,
    yaml::{Node, Value},
};

use super::Reader;
use crate::{
    spec::{Check, Ejected, RateLimitFact},
    words::{Amount, Spread, Unit},
};

const RATE_LIMIT: [(&str, RateLimitFact, Unit); 3] = [
    ("limit", RateLimitFact::Limit, Unit::Count),
    ("remaining", RateLimitFact::Remaining, Unit::Count),
    ("reset", RateLimitFact::Reset, Unit::Time),
];

impl Reader<'_> {
    /// A code, a list of which any will do, or how many calls ended with which.
    pub(super) fn expect_status(&mut self, node: &Node) -> Option<Check> {
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

    pub(super) fn expect_reason(&mut self, node: &Node) -> Option<Check> {
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
    pub(super) fn percentiles(&mut self, node: &Node) -> Check {
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
    pub(super) fn expect_ejected(&mut self, node: &Node) -> Option<Check> {
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
    pub(super) fn expect_headers(&mut self, node: &Node) -> Vec<(String, Option<String>)> {
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

    pub(super) fn expect_rate_limit(&mut self, node: &Node) -> Option<Check> {
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
