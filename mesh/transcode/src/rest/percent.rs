//! Percent-encoding of paths and queries.

use crate::{Error, Reason, Result};

/// Decodes every `%xx`, but keeps `%2F` as it is where `keep_slash`.
pub(crate) fn decode(text: &str, keep_slash: bool) -> Result<String> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let byte = hex(bytes.get(at + 1..at + 3))
            .ok_or_else(|| Error::new(Reason::InvalidPath, "`%` without two hexadecimal digits"))?;
        match byte {
            0 => return Err(Error::new(Reason::InvalidPath, "`%00` is not allowed")),
            b'/' if keep_slash => out.extend_from_slice(&bytes[at..at + 3]),
            _ => out.push(byte),
        }
        at += 3;
    }
    String::from_utf8(out)
        .map_err(|_| Error::new(Reason::InvalidPath, "percent-encoded text is no UTF-8"))
}

/// As in a query: `+` is a space.
pub(crate) fn decode_query(text: &str) -> Result<String> {
    decode(&text.replace('+', " "), false).map_err(|error| Error {
        reason: Reason::InvalidParameter,
        ..error
    })
}

fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_follows_the_table() {
        for (text, keep, expected) in [
            ("plain", false, Some("plain")),
            ("a%20b", false, Some("a b")),
            ("a+b", false, Some("a+b")),
            ("%e2%82%AC", false, Some("€")),
            ("a%2Fb%2fc", false, Some("a/b/c")),
            ("a%2Fb%2fc%3A", true, Some("a%2Fb%2fc:")),
            ("%", false, None),
            ("%2", false, None),
            ("%zz", false, None),
            ("%+1", false, None),
            ("%00", false, None),
            ("%ff", false, None),
            ("%c0%af", false, None),
        ] {
            assert_eq!(decode(text, keep).ok().as_deref(), expected, "{text}");
        }
        assert_eq!(decode_query("a+b%2B").as_deref(), Ok("a b+"));
    }
}
