//! Values that only policy tests have.

use std::time::Duration;

use weft_model::{
    Problem, Spanned,
    yaml::{Fields, Node, Value, nearest},
};
use weft_policy::code;

use super::Reader;
use crate::words::{self, Amount, Spread, Unit};

impl Reader<'_> {
    /// The value of a key, if it is there and good.
    pub(super) fn maybe<T>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        read: impl Fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> Option<T> {
        let node = fields.take(key)?;
        read(self, node, &format!("`{key}`"))
    }

    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        self.decoder.text(node, what)
    }

    pub(super) fn count(&mut self, node: &Node, what: &str) -> Option<u32> {
        self.small(node, what, 0)
    }

    /// One or more.
    pub(super) fn some(&mut self, node: &Node, what: &str) -> Option<u32> {
        self.small(node, what, 1)
    }

    /// A number as text: `3`, `1.5`, `20ms`.
    pub(super) fn number_text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::Integer(number) => Some(Spanned::new(number.to_string(), node.span)),
            Value::Float(number) => Some(Spanned::new(number.to_string(), node.span)),
            _ => self.decoder.text(node, what),
        }
    }

    pub(super) fn time(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let text = self.number_text(node, what)?;
        let time = words::duration(&text);
        if time.is_none() {
            self.no_time(&text, what);
        }
        time
    }

    pub(super) fn spread(&mut self, node: &Node, what: &str) -> Option<Spread> {
        let text = self.number_text(node, what)?;
        let spread = Spread::parse(&text);
        if spread.is_none() {
            self.no_time(&text, what);
        }
        spread
    }

    fn no_time(&mut self, text: &Spanned<String>, what: &str) {
        let message = format!("{what} must be a time, not {:?}", text.value);
        let problem = Problem::new("wrong-unit", text.span, message);
        let hint = "such as `20ms`, `1.5s` or `10ms..30ms`";
        self.decoder.report(problem.hint(hint));
    }

    pub(super) fn amount(&mut self, node: &Node, what: &str, units: &[Unit]) -> Option<Amount> {
        let text = self.number_text(node, what)?;
        let amount = Amount::parse(&text).filter(|amount| units.contains(&amount.unit));
        if amount.is_none() {
            let spellings = Amount::spellings(units);
            let message = format!("{what} cannot be {:?}", text.value);
            let problem = Problem::new("wrong-value", text.span, message);
            self.decoder.report(problem.hint(format!(
                "written as {spellings}, as a range `a..b`, or after `<`, `at least`, `at most`, \
                 `over`, `under`"
            )));
        }
        amount
    }

    /// `30%` as 0.3.
    pub(super) fn share(&mut self, text: &Spanned<String>, what: &str) -> Option<f64> {
        let number = text
            .strip_suffix('%')
            .and_then(|text| text.parse::<f64>().ok());
        let share = number.filter(|number| (0.0..=100.0).contains(number));
        if share.is_none() {
            let message = format!("{what} must be a share such as `30%`, not {:?}", text.value);
            self.decoder
                .report(Problem::new("wrong-unit", text.span, message));
        }
        share.map(|share| share / 100.0)
    }

    pub(super) fn status(&mut self, name: &Spanned<String>) -> Option<i32> {
        let status = words::status(name);
        if status.is_none() {
            let message = format!("`{}` is no gRPC status code", name.value);
            let problem = Problem::new("wrong-value", name.span, message);
            self.decoder
                .report(match nearest(name, (0..=16).map(code::name)) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint("such as `UNAVAILABLE`"),
                });
        }
        status
    }

    /// The text of each entry of a map.
    pub(super) fn pairs(&mut self, node: &Node, what: &'static str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (key, value) in self.decoder.fields(node, what).rest() {
            if let Some(text) = self.number_text(value, what) {
                pairs.push((key.value.clone(), text.value));
            }
        }
        pairs
    }

    /// A number that fits.
    pub(super) fn small(&mut self, node: &Node, what: &str, low: u64) -> Option<u32> {
        let number = self.decoder.integer(node, what, low..=1_000_000)?;
        u32::try_from(number.value).ok()
    }
}
