//! JSON strings and their escapes.

use std::borrow::Cow;

use super::{Found, Reader};
use crate::Result;

impl<'a> Reader<'a> {
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(Found::String, "a string")?;
        self.position += 1;
        let start = self.position;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let plain = &self.text[start..self.position];
                    self.position += 1;
                    return Ok(Cow::Borrowed(plain));
                }
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(0..0x20) => return Err(self.syntax("control character in a string")),
                Some(_) => self.position += 1,
                None => return Err(self.syntax("string without end")),
            }
        }
    }

    /// The rest of a string from its first backslash.
    fn escaped(&mut self, start: usize) -> Result<String> {
        let mut out = self.text[start..self.position].to_owned();
        loop {
            let run = self.position;
            while !matches!(self.byte(), Some(b'"' | b'\\' | 0..0x20) | None) {
                self.position += 1;
            }
            out.push_str(&self.text[run..self.position]);
            match self.byte() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.position += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.syntax("control character in a string")),
                None => return Err(self.syntax("string without end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let letter = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.position += 1;
                return self.unicode();
            }
            _ => return Err(self.syntax("unknown escape")),
        };
        self.position += 1;
        Ok(letter)
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                if !self.text[self.position..].starts_with("\\u") {
                    return Err(self.syntax("half of a surrogate pair"));
                }
                self.position += 2;
                let second = self.hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.syntax("half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.syntax("half of a surrogate pair"))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.position..self.position + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            return Err(self.syntax("expected four hexadecimal digits"));
        };
        self.position += 4;
        Ok(digits.iter().fold(0, |code, digit| {
            code << 4 | (*digit as char).to_digit(16).unwrap_or(0)
        }))
    }
}
