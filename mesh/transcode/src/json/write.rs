//! Scalars: from wire bytes, and into JSON text.

use crate::{
    Error, Reason, Result,
    plan::Type,
    wire::{self, Reader},
};

pub(super) fn broken(message: impl Into<String>) -> Error {
    Error::new(Reason::InvalidMessage, message)
}

pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| broken("fixed value cut short"))
}

/// The bits of a scalar; zero where there are no bytes.
pub(super) fn bits(ty: Type, value: &[u8]) -> Result<u64> {
    if value.is_empty() {
        return Ok(0);
    }
    match ty.wire_type() {
        wire::FIXED32 => Ok(u64::from(u32::from_le_bytes(fixed(value)?))),
        wire::FIXED64 => Ok(u64::from_le_bytes(fixed(value)?)),
        _ => Reader::new(value).varint(),
    }
}

pub(super) fn is_zero(ty: Type, value: &[u8]) -> Result<bool> {
    match ty {
        Type::String | Type::Bytes => Ok(value.is_empty()),
        Type::Message(_) => Ok(false),
        _ => Ok(bits(ty, value)? == 0),
    }
}

pub(super) fn default_key(ty: Type) -> String {
    match ty {
        Type::String => String::new(),
        Type::Bool => "false".to_owned(),
        _ => "0".to_owned(),
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| broken("string is no UTF-8"))
}

pub(super) fn write_double(out: &mut Vec<u8>, value: f64) -> std::io::Result<()> {
    write_special(out, value.is_nan(), value.is_infinite(), value < 0.0)
        .unwrap_or_else(|| serde_json::to_writer(out, &value).map_err(Into::into))
}

pub(super) fn write_float(out: &mut Vec<u8>, value: f32) -> std::io::Result<()> {
    write_special(out, value.is_nan(), value.is_infinite(), value < 0.0)
        .unwrap_or_else(|| serde_json::to_writer(out, &value).map_err(Into::into))
}

fn write_special(
    out: &mut Vec<u8>,
    nan: bool,
    infinite: bool,
    negative: bool,
) -> Option<std::io::Result<()>> {
    let text = match (nan, infinite, negative) {
        (true, ..) => "\"NaN\"",
        (_, true, false) => "\"Infinity\"",
        (_, true, true) => "\"-Infinity\"",
        _ => return None,
    };
    out.extend_from_slice(text.as_bytes());
    Some(Ok(()))
}

/// A JSON string with its quotes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        out.extend([b'\\', short]);
        if short == b'u' {
            let hex = b"0123456789abcdef";
            let digits = [hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]];
            out.extend([b'0', b'0', digits[0], digits[1]]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}
