//! The small texts of a policy test: `20ms..30ms`, `<15%`, `UNAVAILABLE x2 after 5ms`.

use std::{fmt, time::Duration};

use weft_policy::{code, retry::Pushback};

/// Nobody waits longer, and sums of such times are still times.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// `20ms`, `1.5s`, `2m`, `0s`, at most a year.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(number * factor).ok()?;
    (duration <= LONGEST).then_some(duration)
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// `10ms` or `10ms..30ms`: each time anew, evenly between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub low: Duration,
    pub high: Duration,
}

impl Spread {
    pub fn exactly(duration: Duration) -> Self {
        Self {
            low: duration,
            high: duration,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let Some((low, high)) = text.split_once("..") else {
            return duration(text).map(Self::exactly);
        };
        let (low, high) = (duration(low)?, duration(high)?);
        (low <= high).then_some(Self { low, high })
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// `3`
    Count,
    /// `15%`, kept as 0.15.
    Share,
    /// `1.2x`
    Times,
    /// `90/s`
    Rate,
    /// `20ms`, kept in seconds.
    Time,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "`3`",
            Self::Share => "`15%`",
            Self::Times => "`1.2x`",
            Self::Rate => "`90/s`",
            Self::Time => "`20ms`",
        }
    }

    /// A value as somebody would write it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
            Self::Share => format!("{:.1}%", value * 100.0),
            Self::Times => format!("{value:.2}x"),
            Self::Rate => format!("{value:.1}/s"),
            Self::Time => show_time(Duration::try_from_secs_f64(value).unwrap_or_default()),
        }
    }
}

/// `20ms`, `1.5s`: at most microseconds matter.
pub(crate) fn show_time(time: Duration) -> String {
    let trim = |text: String| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    let micros = time.as_nanos() as f64 / 1000.0;
    if micros >= 1_000_000.0 {
        format!("{}s", trim(format!("{:.3}", micros / 1_000_000.0)))
    } else {
        format!("{}ms", trim(format!("{:.2}", micros / 1000.0)))
    }
}

/// What a number must be: exactly so, within a range, below or above a bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Amount {
    pub unit: Unit,
    low: f64,
    high: f64,
    /// Whether the bounds themselves are fine.
    closed: bool,
    text: String,
}

/// Rounding of floats is nobody's failure.
const ROUNDING: f64 = 1e-9;

impl Amount {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bounds = [
            ("at least ", true, true),
            ("at most ", false, true),
            ("over ", true, false),
            ("under ", false, false),
            (">=", true, true),
            ("<=", false, true),
            (">", true, false),
            ("<", false, false),
        ];
        for (word, is_low, closed) in bounds {
            if let Some(rest) = text.strip_prefix(word) {
                let (value, unit) = Self::value(rest)?;
                let (low, high) = if is_low {
                    (value, f64::INFINITY)
                } else {
                    (f64::NEG_INFINITY, value)
                };
                return Some(Self::new(unit, (low, high), closed, text));
            }
        }
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let ((low, first), (high, unit)) = (Self::value(low)?, Self::value(high)?);
        // `3..5%` is as good as `3%..5%`.
        let low = match (first, unit) {
            (Unit::Count, Unit::Share) => low / 100.0,
            (Unit::Count, Unit::Times | Unit::Rate) => low,
            (first, unit) if first == unit => low,
            _ => return None,
        };
        (low <= high).then(|| Self::new(unit, (low, high), true, text))
    }

    fn new(unit: Unit, (low, high): (f64, f64), closed: bool, text: &str) -> Self {
        let text = text.to_owned();
        Self {
            unit,
            low,
            high,
            closed,
            text,
        }
    }

    fn value(text: &str) -> Option<(f64, Unit)> {
        let (number, unit) = number_and_unit(text)?;
        Some(match unit {
            "" => (number, Unit::Count),
            "%" => (number / 100.0, Unit::Share),
            "x" => (number, Unit::Times),
            "/s" => (number, Unit::Rate),
            _ => (duration(text)?.as_secs_f64(), Unit::Time),
        })
    }

    /// The number, if only one will do.
    pub fn exact(&self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    pub fn holds(&self, value: f64) -> bool {
        if self.closed {
            value >= self.low - ROUNDING && value <= self.high + ROUNDING
        } else {
            value > self.low + ROUNDING && value < self.high - ROUNDING
        }
    }

    /// How the units that may stand here are written.
    pub fn spellings(units: &[Unit]) -> String {
        let names: Vec<_> = units.iter().map(|unit| unit.name()).collect();
        names.join(" or ")
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Ends the call with this status.
    Status(i32),
    /// The stream breaks.
    Resets,
    /// Nothing, ever.
    Never,
    /// No connection.
    Refuses,
    /// The connection closes in good order: the request was not processed.
    GoesAway,
    /// The endpoint's sidecar has no workload to hand it to.
    Unreached,
}

/// One step of an endpoint's script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub reply: Reply,
    /// Response headers come before what `reply` says.
    pub headers_first: bool,
    /// Instead of the endpoint's own latency.
    pub after: Option<Spread>,
    pub pushback: Pushback,
    /// How often before the next step; the last one is for ever.
    pub times: u32,
}

/// For messages: what an answer can be.
pub(crate) const ANSWERS: &str = "a status code such as `UNAVAILABLE`, `resets`, `never answers`, \
    `refuses connections`, `goes away` or `unreached`, then perhaps `x2`, `after 20ms`, \
    `pushback 100ms`; `headers then ...` for what follows response headers";

impl Answer {
    pub fn ok() -> Self {
        Self {
            reply: Reply::Status(code::OK),
            headers_first: false,
            after: None,
            pushback: Pushback::Absent,
            times: 1,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut answer = Self::ok();
        let mut rest = text.trim();
        if let Some(after) = rest.strip_prefix("headers then ") {
            (answer.headers_first, rest) = (true, after.trim());
        }
        let phrases = [
            ("resets", Reply::Resets),
            ("never answers", Reply::Never),
            ("refuses connections", Reply::Refuses),
            ("goes away", Reply::GoesAway),
            ("unreached", Reply::Unreached),
        ];
        let phrase = phrases.iter().find(|(phrase, _)| rest.starts_with(phrase));
        let (reply, used) = match phrase {
            Some((phrase, reply)) => (*reply, phrase.len()),
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (Reply::Status(status(&rest[..end])?), end)
            }
        };
        answer.reply = reply;
        let mut words = rest[used..].split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "after" => answer.after = Some(Spread::parse(words.next()?)?),
                "pushback" => {
                    answer.pushback = match words.next()? {
                        "never" => Pushback::Stop,
                        wait => Pushback::Wait(duration(wait)?),
                    };
                }
                _ => answer.times = word.strip_prefix('x')?.parse().ok().filter(|n| *n > 0)?,
            }
        }
        Some(answer)
    }
}

/// The number of a status code's name.
pub(crate) fn status(name: &str) -> Option<i32> {
    if name == "UNKNOWN" {
        return Some(code::UNKNOWN);
    }
    (0..=16).find(|number| *number != code::UNKNOWN && code::name(*number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("20ms"), Some(20));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("2m"), Some(120_000));
        assert_eq!(millis("0s"), Some(0));
        for wrong in ["20", "", "ms", "-1s", "1e9s", "3 apples", "9000h"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_exact_or_bounded() {
        let holds = |text: &str, value| Amount::parse(text).expect("an amount").holds(value);
        assert!(holds("3", 3.0) && !holds("3", 4.0));
        assert!(holds("20ms..30ms", 0.03) && !holds("20ms..30ms", 0.031));
        assert!(holds("<15%", 0.149) && !holds("<15%", 0.15));
        assert!(holds("at least 15%", 0.15) && !holds("over 15%", 0.15));
        assert!(holds("10..20%", 0.1) && !holds("10..20%", 0.21));
        for wrong in ["", "<", "5..3", "3 apples", "3s..4%", "a..b"] {
            assert_eq!(Amount::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_are_phrases() {
        let answer = Answer::parse("UNAVAILABLE x2 after 5ms pushback never").expect("an answer");
        assert_eq!((answer.reply, answer.times), (Reply::Status(14), 2));
        assert_eq!(answer.pushback, Pushback::Stop);
        let late = Answer::parse("headers then resets").expect("an answer");
        assert!(late.headers_first && late.reply == Reply::Resets);
        for wrong in ["", "UNAVAILABL", "OK x0", "OK twice", "OK after", "headers"] {
            assert_eq!(Answer::parse(wrong), None, "{wrong}");
        }
    }
}
