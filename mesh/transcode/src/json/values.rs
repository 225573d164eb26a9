//! Scalars: text of a JSON value, a path segment or a query parameter into wire bytes.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::read::number_length;
use crate::{
    Error, Reason, Result,
    plan::{Plans, Type},
    wire,
};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Base64 of either alphabet, padded or not.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let engine = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    engine
        .decode(text)
        .map_err(|error| Error::new(Reason::WrongType, format!("expected base64: {error}")))
}

/// The number a text holds, `None` where it is no JSON number.
fn is_number(text: &str) -> bool {
    number_length(text) == Some(text.len())
}

fn out_of_range(ty: Type, text: &str) -> Error {
    Error::new(
        Reason::OutOfRange,
        format!("expected {}, found {}", ty.expected(), shown(text)),
    )
}

/// An integer, also written as `1.0` or `1e3`.
fn integer(ty: Type, text: &str) -> Result<i128> {
    if !is_number(text) {
        return Err(Error::wrong_type(ty.expected(), &shown(text)));
    }
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    match text.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < 1e19 => Ok(value as i128),
        Ok(value) if value.fract() != 0.0 => Err(Error::wrong_type(ty.expected(), &shown(text))),
        _ => Err(out_of_range(ty, text)),
    }
}

fn double(ty: Type, text: &str) -> Result<f64> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    if !is_number(text) {
        return Err(Error::wrong_type(ty.expected(), &shown(text)));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(out_of_range(ty, text)),
    }
}

/// A value in an error message: at most 40 letters, and no long number, which may be a card's.
pub(crate) fn shown(text: &str) -> String {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits > 8 {
        return format!("a text with {digits} digits");
    }
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// Writes a scalar given as text, without its tag. Messages are not scalars.
pub(crate) fn put_scalar_text(
    plans: &Plans,
    ty: Type,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<()> {
    match ty {
        Type::String => wire::put_bytes(out, text.as_bytes()),
        Type::Bytes => wire::put_bytes(out, &decode_base64(text)?),
        Type::Bool => match text {
            "true" => out.push(1),
            "false" => out.push(0),
            _ => {
                return Err(Error::wrong_type(ty.expected(), &shown(text)));
            }
        },
        Type::Enum(id) => put_enum(plans, id, text, out)?,
        Type::Message(_) => return Err(Error::wrong_type(ty.expected(), "text")),
        _ => put_number(ty, text, out)?,
    }
    Ok(())
}

/// An enum value by name, or by number.
fn put_enum(plans: &Plans, id: u32, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let descriptor = plans.enumeration(id);
    if let Some(number) = descriptor.numbers.get(text) {
        wire::put_varint(out, *number as i64 as u64);
        return Ok(());
    }
    if text.parse::<i32>().is_ok() {
        return put_number(Type::Int32, text, out);
    }
    let nearest = crate::error::nearest(text, descriptor.numbers.keys().map(String::as_str));
    let hint = match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => {
            let mut names: Vec<_> = descriptor
                .numbers
                .iter()
                .map(|(n, v)| (*v, n.as_str()))
                .collect();
            names.sort_unstable();
            let names: Vec<_> = names
                .into_iter()
                .filter(|(v, _)| *v != 0)
                .map(|(_, n)| n)
                .collect();
            format!("; known are {}", clip_list(&names))
        }
    };
    Err(Error::new(
        Reason::WrongType,
        format!("unknown enum value {}{hint}", shown(text)),
    ))
}

fn clip_list(names: &[&str]) -> String {
    let shown = names.len().min(12);
    let more = if shown < names.len() { ", ..." } else { "" };
    format!("{}{more}", names[..shown].join(", "))
}

/// Writes a number in the type's own encoding.
pub(crate) fn put_number(ty: Type, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let range = |_| out_of_range(ty, text);
    match ty {
        Type::Double => out.extend(double(ty, text)?.to_le_bytes()),
        Type::Float => {
            let wide = double(ty, text)?;
            let narrow = wide as f32;
            if narrow.is_infinite() && wide.is_finite() {
                return Err(out_of_range(ty, text));
            }
            out.extend(narrow.to_le_bytes());
        }
        Type::Int32 => {
            let value = i32::try_from(integer(ty, text)?).map_err(range)?;
            wire::put_varint(out, i64::from(value) as u64);
        }
        Type::Sint32 => {
            let value = i32::try_from(integer(ty, text)?).map_err(range)?;
            wire::put_varint(out, wire::zigzag(value.into()));
        }
        Type::Sfixed32 => {
            let value = i32::try_from(integer(ty, text)?).map_err(range)?;
            out.extend(value.to_le_bytes());
        }
        Type::Uint32 | Type::Fixed32 => {
            let value = u32::try_from(integer(ty, text)?).map_err(range)?;
            if ty == Type::Fixed32 {
                out.extend(value.to_le_bytes());
            } else {
                wire::put_varint(out, value.into());
            }
        }
        Type::Uint64 | Type::Fixed64 => {
            let value = u64::try_from(integer(ty, text)?).map_err(range)?;
            if ty == Type::Fixed64 {
                out.extend(value.to_le_bytes());
            } else {
                wire::put_varint(out, value);
            }
        }
        _ => {
            let value = i64::try_from(integer(ty, text)?).map_err(range)?;
            match ty {
                Type::Sfixed64 => out.extend(value.to_le_bytes()),
                Type::Sint64 => wire::put_varint(out, wire::zigzag(value)),
                _ => wire::put_varint(out, value as u64),
            }
        }
    }
    Ok(())
}

/// The content of a `Timestamp` or `Duration`.
pub(crate) fn put_seconds((seconds, nanos): (i64, i32), out: &mut Vec<u8>) {
    if seconds != 0 {
        wire::put_tag(out, 1, wire::VARINT);
        wire::put_varint(out, seconds as u64);
    }
    if nanos != 0 {
        wire::put_tag(out, 2, wire::VARINT);
        wire::put_varint(out, i64::from(nanos) as u64);
    }
}
