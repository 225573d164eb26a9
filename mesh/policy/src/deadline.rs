//! `grpc-timeout`, and the instant a call ends.

use std::time::{Duration, Instant};

/// The instant a call ends, or never. Every operation on it makes it earlier or leaves it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(None);

    /// The earlier of what the caller asked for (`grpc-timeout`) and what is configured, from `now`.
    pub fn starting(now: Instant, caller: Option<Duration>, configured: Option<Duration>) -> Self {
        let never = Self::NEVER;
        never.at_most(now, caller).at_most(now, configured)
    }

    /// Ends the call after `timeout` at the latest.
    pub fn at_most(self, now: Instant, timeout: Option<Duration>) -> Self {
        // An instant too far for the clock is no deadline.
        let other = timeout.and_then(|timeout| now.checked_add(timeout));
        match (self.0, other) {
            (Some(own), Some(other)) => Self(Some(own.min(other))),
            (own, other) => Self(own.or(other)),
        }
    }

    /// When the call ends. `None`: never.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }

    /// How much time is left. `None`: no deadline; zero: it has passed.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(now))
    }

    /// Whether the deadline has passed.
    pub fn has_passed(self, now: Instant) -> bool {
        self.0.is_some_and(|end| end <= now)
    }
}

/// Reads the value of a `grpc-timeout` header: at most eight digits and a unit. `None` if it is not
/// one, as gRPC servers treat it.
pub fn parse_timeout(value: &str) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits
        .iter()
        .fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes a `grpc-timeout` value: the finest unit whose amount fits in eight digits, rounded down so
/// that the next hop never has more time than this one. Zero becomes `1n`: the spec wants a positive
/// amount.
pub fn format_timeout(timeout: Duration) -> String {
    let mut room = TimeoutRoom::default();
    String::from_utf8_lossy(write_timeout(timeout, &mut room)).into_owned()
}

/// Room for eight digits and a unit.
pub type TimeoutRoom = [u8; 9];

/// As [`format_timeout`], for every call of a proxy: formatting and allocating would take longer.
pub fn write_timeout(timeout: Duration, room: &mut TimeoutRoom) -> &[u8] {
    const LARGEST: u64 = 99_999_999;
    // What does not fit lasts for centuries.
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let units = [
        (b'n', 1),
        (b'u', 1_000),
        (b'm', 1_000_000),
        (b'S', 1_000_000_000),
        (b'M', 60_000_000_000),
        (b'H', 3_600_000_000_000),
    ];
    let fits = |(unit, size)| {
        let amount = nanos / size;
        (amount <= LARGEST).then_some((unit, amount))
    };
    let (unit, amount) = units.into_iter().find_map(fits).unwrap_or((b'H', LARGEST));
    let (mut amount, mut at) = (amount.max(1), room.len() - 1);
    room[at] = unit;
    while amount > 0 {
        at -= 1;
        room[at] = b'0' + (amount % 10) as u8;
        amount /= 10;
    }
    &room[at..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        let expected = [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("250m", Duration::from_millis(250)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
        ];
        for (text, timeout) in expected {
            assert_eq!(parse_timeout(text), Some(timeout), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_is_ignored() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "+1S",
            "-1S",
            "123456789S",
            "1.5S",
            " 1S",
            "1é",
        ] {
            assert_eq!(parse_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_smaller_of_both_timeouts_wins() {
        let now = Instant::now();
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(
            Deadline::starting(now, secs(2), secs(5)).remaining(now),
            secs(2)
        );
        assert_eq!(
            Deadline::starting(now, secs(9), secs(5)).remaining(now),
            secs(5)
        );
        assert_eq!(Deadline::starting(now, None, None).remaining(now), None);
        let passed = now + Duration::from_secs(3);
        assert!(Deadline::starting(now, secs(2), None).has_passed(passed));
    }

    proptest! {
        #[test]
        fn a_written_timeout_never_grows_and_loses_little(nanos in 1u64..=u64::MAX) {
            let timeout = Duration::from_nanos(nanos);
            let read = parse_timeout(&format_timeout(timeout)).expect("we wrote it");
            prop_assert!(read <= timeout);
            prop_assert!(timeout - read <= timeout / 100_000);
        }

        #[test]
        fn a_deadline_never_grows_over_hops(
            caller in proptest::option::of(0u64..10_000_000_000),
            hops in proptest::collection::vec((0u64..1_000_000_000, proptest::option::of(0u64..10_000_000_000)), 1..6),
        ) {
            let mut now = Instant::now();
            let mut header = caller.map(|nanos| format_timeout(Duration::from_nanos(nanos)));
            let mut end = header.as_deref().and_then(parse_timeout).map(|timeout| now + timeout);
            for (spent, configured) in hops {
                let configured = configured.map(Duration::from_nanos);
                let asked = header.as_deref().and_then(parse_timeout);
                let deadline = Deadline::starting(now, asked, configured);
                now += Duration::from_nanos(spent);
                if let (Some(before), Some(after)) = (end, deadline.instant()) {
                    prop_assert!(after <= before + Duration::from_nanos(1));
                }
                prop_assert!(end.is_none() || deadline.instant().is_some());
                end = deadline.instant();
                header = deadline.remaining(now).map(format_timeout);
                if deadline.has_passed(now) { break; }
            }
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = parse_timeout(&text);
        }
    }
}
