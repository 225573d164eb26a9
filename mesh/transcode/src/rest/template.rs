//! The path template grammar of `google/api/http.proto`.

use std::fmt;

/// One part of a path between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `*`: any one segment that is not empty.
    One,
    /// `**`: any number of segments, none included; always the last.
    Rest,
}

/// A part of the template that is bound to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// `order.name`.
    pub field: String,
    /// The first segment it covers.
    pub start: usize,
    /// One past the last segment it covers.
    pub end: usize,
}

/// A parsed template such as `/v1/{name=customers/*/addresses/*}:verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// In order.
    pub segments: Vec<Segment>,
    /// In order; they do not overlap.
    pub variables: Vec<Variable>,
    /// What follows the colon.
    pub verb: Option<String>,
}

/// Why a template does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path template `{template}`: {problem} at column {column}")]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// What is wrong.
    pub problem: String,
    /// Where, from 1.
    pub column: usize,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// Where it does not follow the grammar, or `**` is not last.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser {
            text,
            at: 0,
            segments: Vec::new(),
            variables: Vec::new(),
        };
        parser.parse().map(|verb| Self {
            text: text.to_owned(),
            segments: parser.segments,
            variables: parser.variables,
            verb,
        })
    }

    /// Whether a variable takes more than one segment, and so keeps `%2F` encoded.
    pub fn is_multi(&self, variable: &Variable) -> bool {
        variable.end - variable.start != 1 || self.segments[variable.start] == Segment::Rest
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl Parser<'_> {
    fn parse(&mut self) -> Result<Option<String>, TemplateError> {
        self.expect('/')?;
        self.segments(true)?;
        let mut verb = None;
        if self.eat(':') {
            verb = Some(self.literal()?);
        }
        if self.at < self.text.len() {
            return Err(self.problem("unexpected text"));
        }
        Ok(verb)
    }

    fn problem(&self, problem: &str) -> TemplateError {
        TemplateError {
            template: self.text.to_owned(),
            problem: problem.to_owned(),
            column: self.at + 1,
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len_utf8();
        }
        found
    }

    fn expect(&mut self, expected: char) -> Result<(), TemplateError> {
        if self.eat(expected) {
            Ok(())
        } else {
            Err(self.problem(&format!("expected `{expected}`")))
        }
    }

    fn segments(&mut self, variables: bool) -> Result<(), TemplateError> {
        loop {
            self.segment(variables)?;
            if !self.eat('/') {
                return Ok(());
            }
        }
    }

    fn segment(&mut self, variables: bool) -> Result<(), TemplateError> {
        if self.segments.last() == Some(&Segment::Rest) {
            return Err(self.problem("`**` must be the last segment"));
        }
        match self.peek() {
            Some('{') if variables => self.variable(),
            Some('{') => Err(self.problem("a variable within a variable")),
            Some('*') => {
                self.at += 1;
                let segment = if self.eat('*') {
                    Segment::Rest
                } else {
                    Segment::One
                };
                self.segments.push(segment);
                Ok(())
            }
            _ => {
                let literal = self.literal()?;
                self.segments.push(Segment::Literal(literal));
                Ok(())
            }
        }
    }

    fn variable(&mut self) -> Result<(), TemplateError> {
        self.at += 1;
        let mut field = self.identifier()?;
        while self.eat('.') {
            field.push('.');
            field.push_str(&self.identifier()?);
        }
        if self
            .variables
            .iter()
            .any(|variable| variable.field == field)
        {
            return Err(self.problem(&format!("variable `{field}` given twice")));
        }
        let start = self.segments.len();
        if self.eat('=') {
            self.segments(false)?;
        } else {
            self.segments.push(Segment::One);
        }
        self.expect('}')?;
        let end = self.segments.len();
        self.variables.push(Variable { field, start, end });
        Ok(())
    }

    fn identifier(&mut self) -> Result<String, TemplateError> {
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        if length == 0 || rest.as_bytes()[0].is_ascii_digit() {
            return Err(self.problem("expected a field name"));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    /// Unreserved characters, sub-delimiters but `*`, `@`, and percent-encoding, decoded.
    fn literal(&mut self) -> Result<String, TemplateError> {
        let rest = &self.text[self.at..];
        let allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()+,;=@%".contains(byte);
        let length = rest.bytes().take_while(allowed).count();
        if length == 0 {
            return Err(self.problem("expected a segment"));
        }
        let literal = super::percent::decode(&rest[..length], false)
            .map_err(|error| self.problem(&error.message))?;
        self.at += length;
        Ok(literal)
    }
}

#[cfg(test)]
mod tests;
