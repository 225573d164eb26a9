//! Time as it is stored (microseconds since 1970, UTC) and as contracts tell it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Now, in microseconds since 1970.
pub fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A stored time as a contract tells it.
pub fn to_timestamp(micros: i64) -> Timestamp {
    let nanos = micros.rem_euclid(MICROS_PER_SECOND) * 1_000;
    Timestamp {
        seconds: micros.div_euclid(MICROS_PER_SECOND),
        // Below one billion by the modulus above.
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// A contract's time as it is stored; what is finer than a microsecond is cut off.
pub fn from_timestamp(time: &Timestamp) -> i64 {
    time.seconds
        .saturating_mul(MICROS_PER_SECOND)
        .saturating_add(i64::from(time.nanos).div_euclid(1_000))
}

/// A span of time in microseconds, to be added to a stored time.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_both_ways() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -62_135_596_800_000_000] {
            assert_eq!(from_timestamp(&to_timestamp(micros)), micros);
        }
    }
}
