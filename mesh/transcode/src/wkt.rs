//! The text forms of `Timestamp`, `Duration` and `FieldMask`.

const SECONDS_OF_YEAR_1: i64 = -62_135_596_800;
const SECONDS_OF_YEAR_10000: i64 = 253_402_300_800;
const MAX_DURATION_SECONDS: i64 = 315_576_000_000;

/// Seconds since 1970 and nanoseconds of an RFC 3339 time, `Z` or an offset.
pub(crate) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&text[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        nanos = parse_nanos(&fraction[..length])?;
        rest = &fraction[length..];
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - parse_offset(rest)?;
    (SECONDS_OF_YEAR_1..SECONDS_OF_YEAR_10000)
        .contains(&seconds)
        .then_some((seconds, nanos))
}

fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if text.len() != 6 || text.as_bytes()[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..6])?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// One to nine digits after the point.
fn parse_nanos(fraction: &str) -> Option<i32> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value = digits(fraction)?;
    i32::try_from(value * 10_i64.pow(9 - fraction.len() as u32)).ok()
}

/// RFC 3339 with `Z` and 0, 3, 6 or 9 digits after the point. `None` outside years 1 to 9999.
pub(crate) fn format_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    if !(SECONDS_OF_YEAR_1..SECONDS_OF_YEAR_10000).contains(&seconds)
        || !(0..1_000_000_000).contains(&nanos)
    {
        return None;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = format_nanos(nanos);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"
    ))
}

fn format_nanos(nanos: i32) -> String {
    if nanos == 0 {
        String::new()
    } else if nanos % 1_000_000 == 0 {
        format!(".{:03}", nanos / 1_000_000)
    } else if nanos % 1_000 == 0 {
        format!(".{:06}", nanos / 1_000)
    } else {
        format!(".{nanos:09}")
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Howard Hinnant's algorithms: years start in March, eras have 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `1.5s`, `-0.000000001s`.
pub(crate) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, nanos) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, parse_nanos(fraction)?),
        None => (text, 0),
    };
    let seconds = digits(whole)?;
    let in_range = seconds < MAX_DURATION_SECONDS || seconds == MAX_DURATION_SECONDS && nanos == 0;
    in_range.then_some((sign * seconds, sign as i32 * nanos))
}

/// With 0, 3, 6 or 9 digits. `None` where the parts disagree in sign or are out of range.
pub(crate) fn format_duration(seconds: i64, nanos: i32) -> Option<String> {
    let signs_differ = seconds < 0 && nanos > 0 || seconds > 0 && nanos < 0;
    if signs_differ
        || seconds.unsigned_abs() > MAX_DURATION_SECONDS.unsigned_abs()
        || nanos.unsigned_abs() > 999_999_999
    {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = format_nanos(nanos.abs());
    Some(format!("{sign}{}{fraction}s", seconds.unsigned_abs()))
}

/// `userName,address.zipCode` as `["user_name", "address.zip_code"]`.
pub(crate) fn parse_field_mask(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(snake_case).collect()
}

fn snake_case(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len() + 4);
    for letter in path.chars() {
        match letter {
            'A'..='Z' => {
                out.push('_');
                out.push(letter.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' | '.' => out.push(letter),
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The reverse; `None` for a path that would not come back the same.
pub(crate) fn format_field_mask<'a>(paths: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut out = String::new();
    for (index, path) in paths.enumerate() {
        if index > 0 {
            out.push(',');
        }
        let mut letters = path.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '_' => match letters.next() {
                    Some(next @ 'a'..='z') => out.push(next.to_ascii_uppercase()),
                    _ => return None,
                },
                'A'..='Z' => return None,
                _ => out.push(letter),
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2026-11-20T12:34:56.789Z", 1_795_178_096, 789_000_000),
            ("0001-01-01T00:00:00Z", SECONDS_OF_YEAR_1, 0),
            (
                "9999-12-31T23:59:59.999999999Z",
                SECONDS_OF_YEAR_10000 - 1,
                999_999_999,
            ),
            ("2000-02-29T00:00:00.000001Z", 951_782_400, 1_000),
        ] {
            assert_eq!(parse_timestamp(text), Some((seconds, nanos)), "{text}");
            assert_eq!(format_timestamp(seconds, nanos).as_deref(), Some(text));
        }
        assert_eq!(parse_timestamp("1970-01-01T02:00:00+02:00"), Some((0, 0)));
    }

    #[test]
    fn other_times_are_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.0000000001Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00+2:00",
            "+970-01-01T00:00:00Z",
            "ééééééééééééé",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn durations_go_both_ways() {
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("1.500s", 1, 500_000_000),
            ("-0.000000001s", 0, -1),
            ("-3s", -3, 0),
            ("315576000000s", MAX_DURATION_SECONDS, 0),
        ] {
            assert_eq!(parse_duration(text), Some((seconds, nanos)), "{text}");
            assert_eq!(format_duration(seconds, nanos).as_deref(), Some(text));
        }
        for text in [
            "",
            "s",
            "1",
            "1.s",
            ".5s",
            "1,5s",
            "--1s",
            "315576000001s",
            "1e3s",
            "1 s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(format_duration(1, -1), None);
    }

    #[test]
    fn field_masks_go_both_ways() {
        let paths = vec!["user_name".to_owned(), "a.b_c".to_owned()];
        assert_eq!(parse_field_mask("userName,a.bC"), Some(paths.clone()));
        assert_eq!(
            format_field_mask(paths.iter().map(String::as_str)).as_deref(),
            Some("userName,a.bC")
        );
        assert_eq!(parse_field_mask("user_name"), None);
        assert_eq!(parse_field_mask("a,,b"), None);
        assert_eq!(format_field_mask(["a__b"].into_iter()), None);
    }
}
