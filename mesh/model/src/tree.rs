//! YAML as a tree in which every key and value knows its place, so that decoding can go on after a
//! problem and report all of them in one run.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, options::DuplicateKeyPolicy};

use crate::{
    problem::Problem,
    span::{Span, Spanned},
};

/// A YAML value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub span: Span,
}

/// What a YAML value is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Everything else that is written plainly or in quotes.
    Text(String),
    /// `[...]` or lines with `-`.
    List(Vec<Node>),
    /// Keys and values in the order of the file.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Value {
    /// How a message names what was found.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean `{value}`"),
            Value::Integer(value) => format!("the number `{value}`"),
            Value::Float(value) => format!("the number `{value}`"),
            Value::Text(value) => format!("the text {value:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// How many values a mesh file may have. A file that needs more is an attack or a mistake.
const MAX_EVENTS: usize = 100_000;
/// How many keys given twice are reported before giving up.
const MAX_DUPLICATES: u32 = 50;
/// The first letter of a key that repeats an earlier one, counted up from here. Private-use
/// characters: never in a mesh file by accident.
const REPEATED: u32 = 0xF000;

/// Parses YAML. `None` where the syntax is broken: then nothing can be decoded.
pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut text = text.to_owned();
    for marker in (REPEATED..REPEATED + MAX_DUPLICATES).filter_map(char::from_u32) {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_events: MAX_EVENTS, max_nodes: MAX_EVENTS },
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
        };
        let error = match serde_saphyr::from_str_with_options::<Node>(&text, options) {
            Ok(node) => return Some(node),
            Err(error) => error,
        };
        let error = error.without_snippet();
        let span = error.location().map(place).unwrap_or_default();
        if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
            let key = key.clone().unwrap_or_default();
            let message = format!("key `{key}` is given twice in one map");
            problems.push(
                Problem::new("duplicate-key", span, message)
                    .hint("keep one of them; the later one does not replace the first"),
            );
            // The parser stops at the first repeated key. Marked, it is another key, and the next
            // run finds what comes after it.
            if mark(&mut text, span, marker) {
                continue;
            }
            return None;
        }
        problems.push(Problem::new("syntax", span, reason(&error.to_string())).hint(
            "the file cannot be read past this place: other problems show once it is valid YAML",
        ));
        return None;
    }
    None
}

/// Whether a key was marked as a repetition, and reported already.
pub(crate) fn is_repeated(key: &str) -> bool {
    key.starts_with(|letter| (REPEATED..REPEATED + MAX_DUPLICATES).contains(&u32::from(letter)))
}

/// Replaces the first letter of the key at `span`, so that columns stay as they are.
fn mark(text: &mut String, span: Span, marker: char) -> bool {
    let start: usize = text
        .split_inclusive('\n')
        .take(span.line.saturating_sub(1))
        .map(str::len)
        .sum();
    let key = text[start..]
        .char_indices()
        .skip(span.column.saturating_sub(1))
        .find(|(_, letter)| !matches!(letter, '"' | '\''))
        .map(|(offset, letter)| (start + offset, letter));
    match key {
        Some((at, letter)) if letter != '\n' => {
            text.replace_range(at..at + letter.len_utf8(), &marker.to_string());
            true
        }
        _ => false,
    }
}

/// The parser's message without its own place and in our form.
fn reason(message: &str) -> String {
    let mut message = message.lines().next().unwrap_or_default();
    if let Some((head, tail)) = message.rsplit_once(" at line ")
        && tail.starts_with(|c: char| c.is_ascii_digit())
    {
        message = head;
    }
    if let Some(rest) = message.strip_prefix("error: ") {
        message = rest;
    }
    format!(
        "not valid YAML: {}",
        message.trim_end_matches([':', ',', ' '])
    )
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node {
            span: place(spanned.defined),
            value: spanned.value,
        })
    }
}

struct Key(Spanned<String>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<String>::deserialize(deserializer)?;
        Ok(Key(Spanned::new(spanned.value, place(spanned.defined))))
    }
}

/// The parser's place in our form.
fn place(location: Location) -> Span {
    let number = |value: u64| usize::try_from(value).unwrap_or_default();
    Span {
        line: number(location.line()),
        column: number(location.column()),
        width: usize::try_from(location.span().len())
            .unwrap_or_default()
            .max(1),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            entries.push((key, value));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> Vec<(usize, usize, String)> {
        let mut problems = Vec::new();
        parse(text, &mut problems);
        let place = |p: Problem| (p.span.line, p.span.column, p.message);
        problems.into_iter().map(place).collect()
    }

    #[test]
    fn every_repeated_key_is_found_at_its_place() {
        let text = "a: 1\nb: { c: 1, c: 2 }\na: 3\n'a': 4\n";
        assert_eq!(
            problems_of(text),
            [
                (2, 12, "key `c` is given twice in one map".to_owned()),
                (3, 1, "key `a` is given twice in one map".to_owned()),
                (4, 1, "key `a` is given twice in one map".to_owned()),
            ]
        );
    }

    #[test]
    fn broken_syntax_is_one_problem_with_its_place() {
        let message = "not valid YAML: mapping values are not allowed in this context";
        assert_eq!(problems_of("a: b: c\n"), [(1, 5, message.to_owned())]);
    }

    #[test]
    fn aliases_point_to_what_they_stand_for() {
        let mut problems = Vec::new();
        let node = parse("a: &x 5s\nb: *x\n", &mut problems);
        let Some(Value::Map(entries)) = node.map(|node| node.value) else {
            panic!("no map: {problems:?}");
        };
        assert_eq!((entries[1].1.span.line, entries[1].1.span.column), (1, 7));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (previous, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            let items = vec![format!("*{previous}"); 10].join(", ");
            text.push_str(&format!("{next}: &{next} [{items}]\n"));
        }
        assert_eq!(problems_of(&text).len(), 1);
    }
}
