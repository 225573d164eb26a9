//! The deadline of the call that is being served, and how it goes on to upstreams.

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Deadline;
}

/// The time an upstream has if nobody said otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const GRPC_TIMEOUT: &str = "grpc-timeout";

#[derive(Clone, Copy, Debug)]
enum Deadline {
    At(Instant),
    Never,
}

/// What is left of the deadline of the call that is being served, [`Duration::ZERO`] if it is over,
/// `None` outside a call or if the caller set none.
pub fn remaining() -> Option<Duration> {
    match DEADLINE.try_get() {
        Ok(Deadline::At(at)) => Some(at.saturating_duration_since(Instant::now())),
        Ok(Deadline::Never) | Err(_) => None,
    }
}

/// Runs `work` with a deadline for the calls it makes to upstreams, for work outside a call such as a
/// saga that is resumed. It does not end `work` itself. A deadline that is set already is not made
/// longer.
pub async fn with_deadline<F: Future>(timeout: Duration, work: F) -> F::Output {
    let timeout = remaining().map_or(timeout, |left| left.min(timeout));
    DEADLINE
        .scope(Deadline::At(Instant::now() + timeout), work)
        .await
}

/// Runs `work`, whose calls to upstreams last until somebody ends them: for streams that are read
/// forever.
pub async fn without_deadline<F: Future>(work: F) -> F::Output {
    DEADLINE.scope(Deadline::Never, work).await
}

/// Runs a handler under the deadline of its caller, if it has one.
pub(crate) async fn serve<F: Future>(deadline: Option<Instant>, handler: F) -> F::Output {
    match deadline {
        Some(at) => DEADLINE.scope(Deadline::At(at), handler).await,
        None => handler.await,
    }
}

/// The time an outgoing call has: the least of what its headers say and what the served call has
/// left; the default if there is neither. `None`: no limit.
pub(crate) fn outgoing_timeout(headers: &HeaderMap) -> Option<Duration> {
    let inherited = match DEADLINE.try_get() {
        Ok(Deadline::At(at)) => Some(at.saturating_duration_since(Instant::now())),
        Ok(Deadline::Never) => return grpc_timeout(headers),
        Err(_) => None,
    };
    match (grpc_timeout(headers), inherited) {
        (Some(own), Some(inherited)) => Some(own.min(inherited)),
        (Some(timeout), None) | (None, Some(timeout)) => Some(timeout),
        (None, None) => Some(DEFAULT_TIMEOUT),
    }
}

/// Reads `grpc-timeout`; a malformed one counts as none.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes `grpc-timeout`, rounded down, so that the time never grows on its way.
pub(crate) fn set_grpc_timeout(headers: &mut HeaderMap, timeout: Duration) {
    let micros = timeout.as_micros();
    let text = if micros < 100_000_000 {
        format!("{micros}u")
    } else if timeout.as_millis() < 100_000_000 {
        format!("{}m", timeout.as_millis())
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
        headers
    }

    #[test]
    fn timeouts_are_read_and_written() {
        assert_eq!(
            grpc_timeout(&headers("250m")),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            grpc_timeout(&headers("2H")),
            Some(Duration::from_secs(7200))
        );
        for broken in ["", "5", "m", "123456789m", "1x", "-1m"] {
            assert_eq!(grpc_timeout(&headers(broken)), None, "{broken}");
        }
        for millis in [0, 1, 250, 99_999, 100_000, 200_000_000, u64::from(u32::MAX)] {
            let timeout = Duration::from_millis(millis);
            let mut map = HeaderMap::new();
            set_grpc_timeout(&mut map, timeout);
            let read = grpc_timeout(&map).unwrap();
            assert!(
                read <= timeout && timeout - read < Duration::from_secs(1),
                "{millis}"
            );
        }
    }

    #[tokio::test]
    async fn outgoing_time_is_what_is_left() {
        let none = HeaderMap::new();
        assert_eq!(outgoing_timeout(&none), Some(DEFAULT_TIMEOUT));
        let left = Duration::from_secs(20);
        serve(Some(Instant::now() + left), async {
            assert!(outgoing_timeout(&none).is_some_and(|time| time < left));
            assert!(outgoing_timeout(&headers("90S")).is_some_and(|time| time < left));
            assert_eq!(
                outgoing_timeout(&headers("1S")),
                Some(Duration::from_secs(1))
            );
            with_deadline(Duration::from_secs(60), async {
                assert!(remaining().is_some_and(|time| time < left));
            })
            .await;
            without_deadline(async { assert_eq!(outgoing_timeout(&none), None) }).await;
        })
        .await;
        serve(Some(Instant::now()), async {
            assert_eq!(remaining(), Some(Duration::ZERO))
        })
        .await;
    }
}
