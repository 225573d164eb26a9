//! Peers that do not take what waits for them.
//!
//! Windows bound what waits (see [`super::window`]), time bounds how long: a socket that takes nothing, and a
//! caller whose windows stay shut. An answer to a PING is no progress, so a caller cannot have its calls
//! held for ever by staying alive otherwise.

use std::time::Duration;

use tracing::warn;
use weft_http2::{ErrorCode, LastStream};
use weft_policy::{Failure, Reason, code};

use super::{
    arena::{Arena, Key},
    core::Core,
    exchange::Exchange,
    kind::Token,
    link::Link,
    links::Current,
};

/// A peer that takes nothing for as long is let go.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Who takes nothing for as long has [`HELD_BYTES`] left.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that waits for one caller that takes nothing. Less than all windows given out: those are for
/// callers that read.
const HELD_BYTES: usize = 1024 * 1024;
/// What GOAWAY says.
const REASON: &[u8] = b"no_progress";

impl Core {
    /// Whether the peer of a link has taken nothing of what waits for it for [`STALL_TIMEOUT`], and the link
    /// is to be closed. Where calls go on that wait for nothing, only those that are stuck end: callers
    /// share the connections between two sidecars.
    pub(crate) fn is_stalled(&mut self, key: Key<Link>) -> bool {
        let Some(link) = self.links.arena.get_mut(key) else {
            return false;
        };
        if link.has_output() && self.now >= link.last_write + STALL_TIMEOUT {
            return true;
        }
        // What an upstream does not take ends with its calls' deadlines.
        if !link.is_downstream() {
            return false;
        }
        let queued = link.queued_bytes();
        let mut stuck = std::mem::take(&mut link.blocked);
        stuck.retain(|token| waiting(&self.exchanges, token) > 0);
        let Some((h2, taken)) = link.h2.as_mut().map(|h2| (h2, &mut link.taken)) else {
            return false;
        };
        if stuck.is_empty() || h2.payload_sent() != taken.0 {
            *taken = (h2.payload_sent(), self.now);
        }
        let stalled = self.now.saturating_duration_since(taken.1);
        let is_over = stalled >= STALL_TIMEOUT;
        if is_over && h2.open_streams() <= stuck.len() {
            h2.go_away(ErrorCode::ENHANCE_YOUR_CALM, REASON, LastStream::Arrived);
            return true;
        }
        let ending = if is_over {
            stuck.len()
        } else if stalled >= PATIENCE {
            let sizes = stuck.iter().map(|token| waiting(&self.exchanges, token));
            over_the_limit(queued, sizes)
        } else {
            0
        };
        let ending = stuck.split_off(stuck.len() - ending);
        link.blocked = stuck;
        if !ending.is_empty() {
            let (peer, calls) = (link.peer, ending.len());
            warn!(%peer, calls, ?stalled, "calls ended, the caller takes nothing");
        }
        for token in ending {
            self.fail(&mut Current::none(), token.exchange, failure(stalled));
        }
        false
    }

    /// How much of all answers waits for callers: inbound, outbound.
    pub(crate) fn held(&self) -> [usize; 2] {
        let mut held = [0; 2];
        for key in self.exchanges.keys() {
            let exchange = self.exchanges.get(key);
            if let Some(exchange) = exchange.filter(|exchange| !exchange.is_copy()) {
                held[exchange.side as usize] += exchange.answer.kept();
            }
        }
        held
    }
}

/// How much of an answer waits for the caller.
fn waiting(exchanges: &Arena<Exchange>, token: &Token) -> usize {
    let exchange = exchanges.get(token.exchange);
    exchange.map_or(0, |exchange| exchange.answer.kept())
}

/// How many of the last must go, so that no more than [`HELD_BYTES`] are left.
fn over_the_limit(output: usize, sizes: impl Iterator<Item = usize>) -> usize {
    let mut held = output;
    sizes
        .skip_while(|size| {
            held += size;
            held <= HELD_BYTES
        })
        .count()
}

fn failure(stalled: Duration) -> Failure {
    let seconds = stalled.as_secs();
    Failure {
        reason: Reason::Cancelled,
        code: code::RESOURCE_EXHAUSTED,
        message: format!("the caller took nothing for {seconds} s of what waited for it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_go_until_the_rest_is_within_the_limit() {
        let of = |output, sizes: &[usize]| over_the_limit(output, sizes.iter().copied());
        assert_eq!(of(0, &[HELD_BYTES]), 0);
        assert_eq!(of(1, &[HELD_BYTES]), 1);
        assert_eq!(of(0, &[HELD_BYTES / 2; 5]), 3);
        assert_eq!(of(HELD_BYTES / 2, &[HELD_BYTES / 4; 5]), 3);
    }
}
