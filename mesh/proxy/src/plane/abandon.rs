//! Calls whose caller goes away.
//!
//! Whatever was started for such a call ends: the upstream streams are reset, at once or as soon as the
//! upstream has read resets before (`mesh/http2/src/connection/resets.rs`). Until it has read this one, the
//! caller's stream counts as open: whoever begins and cancels without end (rapid reset) runs into the limit
//! of open streams, and no more of its work is ever begun.

use weft_http2::StreamId;
use weft_policy::{Failure, Reason};

use super::{
    arena::Key, core::Core, exchange::Exchange, finish::End, kind::Kind, link::Link, links::Current,
};

/// An upstream stream that nobody waits for, and the caller's that counts for as long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    up: StreamId,
    down: (Key<Link>, StreamId),
}

impl Core {
    /// The caller has gone away, or broke the rules: whatever was started for it ends.
    pub(crate) fn cancel(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.is_cancelled = true;
        }
        let failure = Failure::new(Reason::Cancelled, "the caller went away");
        self.finish(current, key, &End::failed(&failure));
    }

    /// The stream of an attempt was released. If the upstream may still work on it for a caller that has
    /// gone away, the caller's stream goes when that is over.
    pub(crate) fn abandon(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        (up_link, up): (Key<Link>, StreamId),
    ) {
        let found = self.exchanges.get_mut(key);
        let Some(exchange) = found.filter(|exchange| exchange.is_cancelled) else {
            return;
        };
        let h2 = self.links.h2(current, up_link);
        if h2.is_some_and(|h2| h2.is_ending(up))
            && let Some(link) = self.links.arena.get_mut(up_link)
        {
            exchange.is_abandoned = true;
            link.abandoned.push_back(Abandoned {
                up,
                down: (exchange.down, exchange.down_stream),
            });
        }
    }

    /// The upstream has read resets: in the order in which they were asked for.
    pub(crate) fn resets_read(&mut self, current: &mut Current<'_>) {
        while let Some(link) = self.links.arena.get_mut(current.link)
            && let Some(&first) = link.abandoned.front()
            && !current.h2.as_ref().is_some_and(|h2| h2.is_ending(first.up))
        {
            link.abandoned.pop_front();
            self.let_go(current, first);
        }
        let link = self.links.arena.get(current.link);
        if let Some(&Kind::Upstream { pool, .. }) = link.map(|link| &link.kind) {
            self.pump(current, pool);
        }
    }

    /// The caller's stream does not count any more.
    pub(crate) fn let_go(&mut self, current: &mut Current<'_>, abandoned: Abandoned) {
        let (link, stream) = abandoned.down;
        if let Some(h2) = self.links.h2(current, link) {
            h2.release(stream);
        }
        self.close_if_done(link);
    }
}
