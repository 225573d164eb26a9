//! Small decoders over the spanned tree. Each reports what is wrong and goes on.

mod fields;

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    problem::{Problem, nearest},
    span::Spanned,
    tree::{Node, Value, is_repeated},
};

pub use fields::Fields;

/// The longest duration a mesh file may name.
const DAY: Duration = Duration::from_secs(86_400);

/// Collects problems while a tree is decoded.
#[derive(Debug, Default)]
pub struct Decoder {
    /// In the order they were found.
    pub problems: Vec<Problem>,
}

impl Decoder {
    /// Takes one problem more.
    pub fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a value of the wrong kind. `expected` reads on from "must be".
    pub fn wrong(&mut self, node: &Node, what: &str, expected: &str) {
        let found = node.value.describe();
        let message = format!("{what} must be {expected}, not {found}");
        self.report(Problem::new("wrong-type", node.span, message));
    }

    /// The entries of a map. Nothing at all counts as an empty map.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Fields<'n> {
        let (entries, broken) = match &node.value {
            Value::Map(entries) => (entries.as_slice(), false),
            Value::Null => (&[][..], false),
            _ => {
                self.wrong(node, what, "a map");
                (&[][..], true)
            }
        };
        Fields {
            what,
            span: node.span,
            entries: entries
                .iter()
                .filter(|(key, _)| !is_repeated(key))
                .collect(),
            known: Vec::new(),
            broken,
        }
    }

    /// The items of a list. Nothing at all counts as an empty list.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                self.wrong(node, what, "a list");
                &[]
            }
        }
    }

    /// A text that is not empty.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::Text(text) if !text.trim().is_empty() => {
                Some(Spanned::new(text.clone(), node.span))
            }
            Value::Text(_) => {
                let message = format!("{what} must not be empty");
                self.report(Problem::new("wrong-value", node.span, message));
                None
            }
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                let found = node.value.describe();
                let message = format!("{what} must be text, not {found}");
                let problem = Problem::new("wrong-type", node.span, message);
                self.report(problem.hint("put it in quotes if it is meant as text"));
                None
            }
            _ => {
                self.wrong(node, what, "text");
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, node: &Node, what: &str) -> Vec<Spanned<String>> {
        let items = self.list(node, what);
        items
            .iter()
            .filter_map(|item| self.text(item, what))
            .collect()
    }

    /// A whole number within a range.
    pub fn integer(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Spanned<u64>> {
        let (low, high) = (range.start(), range.end());
        let expected = format!("a whole number, {low} to {high}");
        match &node.value {
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) if range.contains(&number) => Some(Spanned::new(number, node.span)),
                _ => {
                    let message = format!("{what} must be {low} to {high}, not {number}");
                    self.report(Problem::new("out-of-range", node.span, message));
                    None
                }
            },
            Value::Text(text) if text.parse::<u64>().is_ok() => {
                let message = format!("{what} must be {expected}, not the text {text:?}");
                let problem = Problem::new("wrong-type", node.span, message);
                self.report(problem.hint("write it without quotes"));
                None
            }
            _ => {
                self.wrong(node, what, &expected);
                None
            }
        }
    }

    /// As [`Self::integer`], for what fits into 32 bits.
    pub fn count(&mut self, node: &Node, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let number = self.integer(node, what, range)?;
        u32::try_from(number.value).ok()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            _ => {
                self.wrong(node, what, "`true` or `false`");
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("{what} cannot be `{}`", text.value);
        let problem = Problem::new("wrong-value", node.span, message);
        self.report(match nearest(&text, known.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("one of {}", known.join(", "))),
        });
        None
    }

    /// A share in percent, above 0, in thousandths of a percent.
    pub fn percentage(&mut self, node: &Node, what: &str) -> Option<u32> {
        self.permille(node, what, 100)
    }

    /// A number in thousandths, above 0 and up to `high`.
    pub fn permille(&mut self, node: &Node, what: &str, high: u32) -> Option<u32> {
        #[expect(clippy::cast_precision_loss, reason = "small numbers of a config file")]
        let number = match &node.value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            _ => {
                self.wrong(node, what, "a number");
                return None;
            }
        };
        let thousandths = (number * 1000.0).round();
        if thousandths < 1.0 || thousandths > f64::from(high) * 1000.0 {
            let message = format!("{what} must be more than 0 and at most {high}, not {number}");
            self.report(Problem::new("out-of-range", node.span, message));
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        Some(thousandths as u32)
    }

    /// A duration as proto3 JSON spells it, more than nothing and at most a day.
    pub fn duration(&mut self, node: &Node, what: &str) -> Option<Spanned<Duration>> {
        let duration = self.duration_or_zero(node, what)?;
        if duration.is_zero() {
            let message = format!("{what} must be more than 0s");
            self.report(Problem::new("out-of-range", node.span, message));
            return None;
        }
        Some(duration)
    }

    /// As [`Self::duration`], where nothing has a meaning.
    pub fn duration_or_zero(&mut self, node: &Node, what: &str) -> Option<Spanned<Duration>> {
        let (found, text) = match &node.value {
            Value::Text(text) => (format!("{text:?}"), text.clone()),
            Value::Integer(number) => (number.to_string(), String::new()),
            Value::Float(number) => (number.to_string(), String::new()),
            _ => {
                self.wrong(node, what, "a duration such as \"0.25s\"");
                return None;
            }
        };
        let Some(duration) = proto_duration(&text) else {
            let message =
                format!("{what} must be a duration in seconds with the unit `s`, not {found}");
            let hint = match seconds_meant(&found) {
                Some(meant) => format!("write `{meant}`"),
                None => "durations are spelled as in proto3 JSON: `5s`, `0.25s`".to_owned(),
            };
            self.report(Problem::new("wrong-unit", node.span, message).hint(hint));
            return None;
        };
        if duration > DAY {
            let message = format!("{what} must be at most a day (86400s), not {found}");
            self.report(Problem::new("out-of-range", node.span, message));
            return None;
        }
        Some(Spanned::new(duration, node.span))
    }
}

/// `1.5s`: digits, optionally a point and up to nine digits, then `s`.
fn proto_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

/// What somebody meant by `500ms`, `5` or `2m`.
fn seconds_meant(found: &str) -> Option<String> {
    let found = found.trim_matches('"').trim();
    let split = found
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(found.len());
    let (number, unit) = found.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "s" | "sec" | "seconds" => 1.0,
        "ms" => 0.001,
        "us" => 0.000_001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(format!("{}s", number * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_proto3_json_spells_them() {
        assert_eq!(proto_duration("0.25s"), Some(Duration::from_millis(250)));
        assert_eq!(proto_duration("5s"), Some(Duration::from_secs(5)));
        for wrong in [
            "5",
            "s",
            "-1s",
            "1.s",
            ".5s",
            "5ms",
            "1e3s",
            "1.0000000001s",
            "+1s",
        ] {
            assert_eq!(proto_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn other_spellings_get_the_right_one_as_hint() {
        assert_eq!(seconds_meant("\"500ms\"").as_deref(), Some("0.5s"));
        assert_eq!(seconds_meant("5").as_deref(), Some("5s"));
        assert_eq!(seconds_meant("\"2m\"").as_deref(), Some("120s"));
        assert_eq!(seconds_meant("\"soon\""), None);
    }
}
