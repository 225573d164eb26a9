//! Copies of requests, for services that are tried out: sent besides the call, never in its way.

use std::time::Duration;

use super::{
    arena::Key,
    core::{Core, Timer},
    exchange::{Exchange, Policy},
    head,
    kind::Side,
    links::Current,
};

/// Copies under way at once; further ones are not made.
const MOST: usize = 32;
/// A copy of a call without a deadline ends after this.
const LONGEST: Duration = Duration::from_secs(30);

impl Core {
    /// Sends a copy of a request that has wholly come to each of the call's mirrors. A request that is
    /// too long to be kept, or is answered before its end, is not copied.
    pub(crate) fn make_copies(&mut self, key: Key<Exchange>) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let is_whole = exchange.request_ended && exchange.body.kept() == exchange.body.end();
        let Policy::Outbound(call) = &mut exchange.policy else {
            return;
        };
        if !is_whole || call.copies.is_empty() {
            return;
        }
        for backend in std::mem::take(&mut call.copies) {
            if self.copies >= MOST {
                tracing::debug!(
                    mirror = backend.authority,
                    "copy not made, too many are under way"
                );
                continue;
            }
            let now = self.now;
            let Some(Exchange {
                policy: Policy::Outbound(call),
                ..
            }) = self.exchanges.get(key)
            else {
                return;
            };
            match self.engine.admit_copy(call, &backend, now) {
                Ok(copy) => self.launch_copy(key, copy),
                Err(failure) => {
                    tracing::debug!(mirror = backend.authority, error = %failure, "copy not made");
                }
            }
        }
    }

    fn launch_copy(&mut self, original: Key<Exchange>, call: weft_policy::Call) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get(original) else {
            return;
        };
        let (head, body) = (exchange.head.clone(), exchange.body.after(0).to_vec());
        let (key, copy) = self.exchanges.take(|| Exchange::fresh(now));
        copy.side = Side::Outbound;
        copy.down = Key::NONE;
        copy.head = head;
        head::set_scheme(&mut copy.head, call.record.is_cleartext);
        copy.body.push(&body);
        (copy.started, copy.request_ended) = (now, true);
        copy.row = self
            .stats
            .row(Side::Outbound, &call.record.method, &call.record.target);
        let end = call.deadline.at_most(now, Some(LONGEST)).instant();
        if let Some(at) = end {
            copy.deadline = self.wheel.set(at, Timer::Deadline(key));
        }
        copy.policy = Policy::Outbound(call);
        self.stats.started(copy.row);
        self.copies += 1;
        self.next_attempt(&mut Current::none(), key);
    }
}
