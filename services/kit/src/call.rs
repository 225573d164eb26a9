//! What the call that is being served hands on to upstreams: its deadline, and how much it matters.

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

tokio::task_local! {
    static SERVED: Served;
}

/// The time an upstream has if nobody said otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// How much a call matters, in the words of whoever began it: under overload the least is shed first.
const CRITICALITY: &str = "x-weft-criticality";

/// The call that is being served.
#[derive(Clone, Debug)]
struct Served {
    deadline: Deadline,
    criticality: Option<HeaderValue>,
}

#[derive(Clone, Copy, Debug)]
enum Deadline {
    At(Instant),
    Unset,
    Never,
}

fn deadline() -> Deadline {
    SERVED
        .try_with(|served| served.deadline)
        .unwrap_or(Deadline::Unset)
}

fn criticality() -> Option<HeaderValue> {
    SERVED.try_with(|served| served.criticality.clone()).ok()?
}

/// What is left of the deadline of the call that is being served, [`Duration::ZERO`] if it is over,
/// `None` outside a call or if the caller set none.
pub fn remaining() -> Option<Duration> {
    match deadline() {
        Deadline::At(at) => Some(at.saturating_duration_since(Instant::now())),
        Deadline::Never | Deadline::Unset => None,
    }
}

/// Runs `work` with a deadline for the calls it makes to upstreams, for work outside a call such as a
/// saga that is resumed. It does not end `work` itself. A deadline that is set already is not made
/// longer.
pub async fn with_deadline<F: Future>(timeout: Duration, work: F) -> F::Output {
    let timeout = remaining().map_or(timeout, |left| left.min(timeout));
    scope(Deadline::At(Instant::now() + timeout), work).await
}

/// Runs `work`, whose calls to upstreams last until somebody ends them: for streams that are read
/// forever.
pub async fn without_deadline<F: Future>(work: F) -> F::Output {
    scope(Deadline::Never, work).await
}

/// Runs `work` with another deadline in the call that is being served.
async fn scope<F: Future>(deadline: Deadline, work: F) -> F::Output {
    let criticality = criticality();
    let served = Served {
        deadline,
        criticality,
    };
    SERVED.scope(served, work).await
}

/// Runs the handler of a call that ends at `deadline` and says how much it matters, if it does.
pub(crate) async fn serve<F: Future>(
    deadline: Option<Instant>,
    criticality: Option<HeaderValue>,
    handler: F,
) -> F::Output {
    let served = Served {
        deadline: deadline.map_or(Deadline::Unset, Deadline::At),
        criticality,
    };
    SERVED.scope(served, handler).await
}

/// How much the call with these headers matters, if it says so.
pub(crate) fn stated_criticality(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(CRITICALITY).cloned()
}

/// Lets an outgoing call matter as much as the call that is being served, unless it says otherwise.
pub(crate) fn hand_criticality_on(headers: &mut HeaderMap) {
    if let Some(criticality) = criticality() {
        headers.entry(CRITICALITY).or_insert(criticality);
    }
}

/// The time an outgoing call has: the least of what its headers say and what the served call has
/// left; the default if there is neither. `None`: no limit.
pub(crate) fn outgoing_timeout(headers: &HeaderMap) -> Option<Duration> {
    let inherited = match deadline() {
        Deadline::At(at) => Some(at.saturating_duration_since(Instant::now())),
        Deadline::Never => return grpc_timeout(headers),
        Deadline::Unset => None,
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
        serve(Some(Instant::now() + left), None, async {
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
        serve(Some(Instant::now()), None, async {
            assert_eq!(remaining(), Some(Duration::ZERO))
        })
        .await;
    }

    #[tokio::test]
    async fn outgoing_calls_matter_as_much_as_the_call_that_is_served() {
        let handed_on = |mut headers: HeaderMap| {
            hand_criticality_on(&mut headers);
            headers.get(CRITICALITY).cloned()
        };
        assert_eq!(handed_on(HeaderMap::new()), None);
        let stated = HeaderValue::from_static("SHEDDABLE");
        serve(None, Some(stated.clone()), async {
            assert_eq!(handed_on(HeaderMap::new()), Some(stated.clone()));
            let within = with_deadline(Duration::from_secs(1), async {
                handed_on(HeaderMap::new())
            });
            assert_eq!(within.await, Some(stated.clone()));
            let mut own = HeaderMap::new();
            own.insert(CRITICALITY, HeaderValue::from_static("CRITICAL"));
            assert_eq!(handed_on(own).unwrap(), "CRITICAL");
        })
        .await;
    }
}
