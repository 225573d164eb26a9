//! Durations as people write them in flags.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration `{text}`: write a number and a unit, such as 10s, 0.25s, 250ms, 5m or 1h"
)]
pub struct InvalidDuration {
    text: String,
}

/// Reads `10s`, `0.25s`, `250ms`, `5m`, `1h` or a bare `0`: a decimal number and one unit. For clap's
/// `value_parser`.
///
/// # Errors
///
/// If the text has another form, is negative or does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = trimmed
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(invalid)?;
    let (number, unit) = trimmed.split_at(unit_at);
    let unit_nanos: u128 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(invalid()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(invalid());
    }
    if number.ends_with('.') {
        return Err(invalid());
    }
    let whole: u128 = u128::from(whole.parse::<u64>().map_err(|_| invalid())?);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| invalid())?
    };
    let nanos = whole * unit_nanos + part * unit_nanos / scale;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_spellings_are_read() {
        for (text, millis) in [
            ("10s", 10_000),
            ("0.25s", 250),
            ("250ms", 250),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1d",
            "1s2s",
            "1.s",
            ".5s",
            "1e3s",
            "99999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
