//! Calls whose caller goes away.
//!
//! A call that is cancelled at once would reach the upstream as a request and its reset together, and
//! enough of these look like an attack of ours: servers close the connection, and all its calls die with
//! it. So the upstream stream of a call that has hardly begun is reset a moment later, when the server has
//! surely seen the request, and the caller's stream counts as open until then: whoever begins and cancels
//! without end (rapid reset) runs into the limit of open streams, and no more of its work is ever begun.

use std::time::{Duration, Instant};

use weft_http2::StreamId;
use weft_policy::{Failure, Reason};

use super::{
    arena::Key,
    core::{Core, Timer},
    exchange::{Exchange, Place},
    finish::End,
    link::Link,
    links::Current,
    pools::Pool,
};

/// Attempts younger than this have hardly begun; their streams are reset when as much has passed again.
/// Much for a server to take a request from its socket, little for work that nobody needs.
const MOMENT: Duration = Duration::from_millis(40);

/// An upstream stream that nobody waits for, and the caller's that counts for as long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    up: (Key<Link>, StreamId),
    down: (Key<Link>, StreamId),
    pool: Key<Pool>,
}

impl Core {
    /// The caller has gone away, or broke the rules: whatever was started for it ends at once, or in a
    /// moment if it has hardly begun.
    pub(crate) fn cancel(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        self.abandon(key, self.now);
        let failure = Failure::new(Reason::Cancelled, "the caller went away");
        self.finish(current, key, &End::failed(&failure));
    }

    fn abandon(&mut self, key: Key<Exchange>, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        if exchange.committed.is_some() {
            return;
        }
        for attempt in &mut exchange.attempts {
            if let Place::Sent { link, stream } = attempt.place
                && now.saturating_duration_since(attempt.started) < MOMENT
            {
                attempt.place = Place::Over;
                exchange.is_abandoned = true;
                self.abandoned.push_back(Abandoned {
                    up: (link, stream),
                    down: (exchange.down, exchange.down_stream),
                    pool: attempt.pool,
                });
                self.wheel.set(now + MOMENT, Timer::Abandoned);
            }
        }
    }

    /// Ends the stream that was abandoned first. Each has its timer, and all wait for the same time.
    pub(crate) fn end_abandoned(&mut self, current: &mut Current<'_>) {
        let Some(Abandoned { up, down, pool }) = self.abandoned.pop_front() else {
            return;
        };
        for (link, stream) in [up, down] {
            if let Some(h2) = self.links.h2(current, link) {
                h2.release(stream);
            }
            self.close_if_done(link);
        }
        self.pump(current, pool);
    }
}
