//! A pull parser of JSON: strict RFC 8259, no allocation for plain strings, places in its errors.

use std::{borrow::Cow, collections::HashSet};

use crate::{Error, MAX_DEPTH, Reason, Result};

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Found {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

mod strings;

pub(crate) struct Reader<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            Error::new(Reason::InvalidJson, format!("no UTF-8 at byte {at}"))
        })?;
        Ok(Self::at_depth(text, 0))
    }

    /// A value cut out of a larger text, at the depth it had there.
    pub(crate) fn at_depth(text: &'a str, depth: usize) -> Self {
        Self {
            text,
            position: 0,
            depth,
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.position += 1;
        }
    }

    fn syntax(&self, message: &str) -> Error {
        let before = &self.text[..self.text.floor_char_boundary(self.position)];
        let line = before.matches('\n').count() + 1;
        let column = before
            .chars()
            .rev()
            .take_while(|letter| *letter != '\n')
            .count()
            + 1;
        Error::new(
            Reason::InvalidJson,
            format!("{message} at line {line}, column {column}"),
        )
    }

    /// Skips space; tells the kind of the value that follows.
    pub(crate) fn peek(&mut self) -> Result<Found> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Found::Object),
            Some(b'[') => Ok(Found::Array),
            Some(b'"') => Ok(Found::String),
            Some(b'-' | b'0'..=b'9') => Ok(Found::Number),
            Some(b't' | b'f') => Ok(Found::Bool),
            Some(b'n') => Ok(Found::Null),
            Some(_) => Err(self.syntax("expected a value")),
            None => Err(self.syntax("expected a value, found the end")),
        }
    }

    fn expect(&mut self, expected: Found, what: &str) -> Result<()> {
        let found = self.peek()?;
        if found == expected {
            Ok(())
        } else {
            Err(Error::wrong_type(what, found.name()))
        }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        self.position += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH}");
            return Err(Error::new(Reason::TooDeep, message));
        }
        Ok(())
    }

    /// After a value: whether another one follows, or `close` did.
    fn another(&mut self, close: u8) -> Result<bool> {
        self.space();
        match self.byte() {
            Some(b',') => {
                self.position += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.position += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => Err(self.syntax(&format!("expected `,` or `{}`", close as char))),
        }
    }

    fn closes_at_once(&mut self, close: u8) -> bool {
        self.space();
        if self.byte() != Some(close) {
            return false;
        }
        self.position += 1;
        self.depth -= 1;
        true
    }

    /// Calls `entry` for each key; it must read the value.
    pub(crate) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.expect(Found::Object, "an object")?;
        self.deeper()?;
        if self.closes_at_once(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            if self.byte() != Some(b'"') {
                return Err(self.syntax("expected a key in double quotes"));
            }
            let key = self.string()?;
            self.space();
            if self.byte() != Some(b':') {
                return Err(self.syntax("expected `:`"));
            }
            self.position += 1;
            entry(self, key)?;
            if !self.another(b'}')? {
                return Ok(());
            }
        }
    }

    /// Calls `element` for each element; it must read the value.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        self.expect(Found::Array, "an array")?;
        self.deeper()?;
        if self.closes_at_once(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            element(self, index).map_err(|error| error.in_element(index))?;
            index += 1;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    /// A number as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a str> {
        self.expect(Found::Number, "a number")?;
        let rest = &self.text[self.position..];
        let length = number_length(rest).ok_or_else(|| self.syntax("malformed number"))?;
        self.position += length;
        if matches!(
            self.byte(),
            Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
        ) {
            return Err(self.syntax("malformed number"));
        }
        Ok(&rest[..length])
    }

    pub(crate) fn boolean(&mut self) -> Result<bool> {
        self.expect(Found::Bool, "true or false")?;
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    pub(crate) fn null(&mut self) -> Result<()> {
        self.expect(Found::Null, "null")?;
        self.word("null")
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.text[self.position..].starts_with(word) {
            return Err(self.syntax("expected a value"));
        }
        self.position += word.len();
        Ok(())
    }

    /// Checks the next value and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a str> {
        self.space();
        let start = self.position;
        self.skip()?;
        Ok(&self.text[start..self.position])
    }

    fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Found::Object => {
                let mut keys = HashSet::new();
                self.object(|reader, key| {
                    if !keys.insert(key.clone()) {
                        return Err(
                            Error::new(Reason::DuplicateField, "given twice").in_field(&key)
                        );
                    }
                    reader.skip()
                })
            }
            Found::Array => self.array(|reader, _| reader.skip()),
            Found::String => self.string().map(drop),
            Found::Number => self.number().map(drop),
            Found::Bool => self.boolean().map(drop),
            Found::Null => self.null(),
        }
    }

    /// Nothing but space may follow the value.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.space();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.syntax("text after the value")),
        }
    }
}

/// The length of the number a text starts with, by JSON's grammar.
pub(crate) fn number_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at.min(bytes.len()));
    if whole == 0 || whole > 1 && bytes[at] == b'0' {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits((at + 1 + sign).min(bytes.len()));
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}
