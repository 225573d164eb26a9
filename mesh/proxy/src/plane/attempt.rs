//! Attempts: where a call goes. What they come to is in [`super::outcome`].

use weft_http2::Name;
use weft_policy::{Attempt as Picked, Outcome, Pick, retry::Pushback};

use super::{
    arena::Key,
    core::{Core, Timer},
    exchange::{Attempt, Exchange, Place, Policy},
    head,
    kind::Token,
    link::Link,
    links::Current,
    wheel::TimerKey,
};

impl Core {
    /// Asks the engine where the call goes next, and begins that.
    pub(crate) fn next_attempt(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        self.wheel.cancel(std::mem::take(&mut exchange.pause));
        self.wheel.cancel(std::mem::take(&mut exchange.hedge));
        let Policy::Outbound(call) = &mut exchange.policy else {
            // It has waited for the first configuration.
            return self.begin_outbound(current, key);
        };
        exchange.is_held = false;
        match self.engine.pick(call, self.now, &mut self.rng) {
            Pick::Attempt(picked) => {
                if let Some(at) = call.hedge_at() {
                    exchange.hedge = self.wheel.set(at, Timer::Hedge(key));
                }
                self.begin_attempt(current, key, picked);
            }
            Pick::Wait(until) => {
                exchange.is_held = true;
                exchange.pause = self.wheel.set(until, Timer::Pause(key));
            }
            Pick::Fail(failure) if !exchange.has_attempt() => self.fail(current, key, failure),
            Pick::Fail(_) => {}
        }
    }

    fn begin_attempt(&mut self, current: &mut Current<'_>, key: Key<Exchange>, picked: Picked) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return self.engine.release(picked);
        };
        self.stats.attempt_started(exchange.row);
        if !exchange.attempts.is_empty() && !exchange.has_attempt() {
            exchange.idle += self.now.saturating_duration_since(exchange.idle_since);
        }
        let (fault, index) = (picked.fault, exchange.attempts.len());
        exchange.attempts.push(Attempt {
            place: Place::Delayed,
            pool: Key::NONE,
            pending: None,
            sent: 0,
            sent_end: false,
            timer: TimerKey::NONE,
            started: self.now,
            is_counted: false,
            picked: Some(picked),
        });
        match fault.delay {
            Some(delay) => {
                let timer = Timer::Attempt(key, index as u8);
                exchange.attempts[index].timer = self.wheel.set(self.now + delay, timer);
            }
            None => self.launch(current, key, index),
        }
    }

    /// The workload beside us: no engine picks it.
    pub(crate) fn attempt_at_app(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        let pool = self.pools.find(self.app, None);
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        exchange.attempts.push(Attempt {
            picked: None,
            place: Place::Delayed,
            pool,
            pending: None,
            sent: 0,
            sent_end: false,
            timer: TimerKey::NONE,
            started: self.now,
            is_counted: true,
        });
        self.launch(current, key, 0);
    }

    /// Carries out an injected abort, or looks for a connection.
    fn launch(&mut self, current: &mut Current<'_>, key: Key<Exchange>, index: usize) {
        let found = self.exchanges.get_mut(key);
        let Some(attempt) = found.and_then(|exchange| exchange.attempts.get_mut(index)) else {
            return;
        };
        let picked = attempt.picked.as_ref();
        if let Some(code) = picked.and_then(|picked| picked.fault.abort) {
            let outcome = Outcome::TrailersOnly {
                code,
                pushback: Pushback::Absent,
            };
            return self.attempt_failed(current, key, index, outcome);
        }
        attempt.timer = match picked.and_then(|picked| picked.times_out_at) {
            Some(at) => self.wheel.set(at, Timer::Attempt(key, index as u8)),
            None => TimerKey::NONE,
        };
        // Only now: during a delay the endpoint may have gone, and its pool with it.
        if let Some(picked) = &attempt.picked {
            let (address, identity) = (picked.endpoint.address, picked.identity.as_ref());
            attempt.pool = self.pools.find(address, identity);
        }
        self.find_link(current, key, index);
    }

    /// The delay of an attempt is over, or its time.
    pub(crate) fn attempt_timer(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
    ) {
        let found = self.exchanges.get_mut(key);
        let Some(attempt) = found.and_then(|exchange| exchange.attempts.get_mut(index)) else {
            return;
        };
        attempt.timer = TimerKey::NONE;
        match attempt.place {
            Place::Delayed => self.launch(current, key, index),
            Place::Waiting | Place::Sent { .. } => {
                self.attempt_failed(current, key, index, Outcome::TimedOut);
            }
            Place::Over => {}
        }
    }

    /// Sends the header and what has come of the body on a link with room for a stream.
    pub(crate) fn send(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
        link: Key<Link>,
    ) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return true;
        };
        let token = Token {
            exchange: key,
            attempt: index as u8,
        };
        let attempt = &mut exchange.attempts[index];
        let Some(h2) = self.links.h2(current, link) else {
            return false;
        };
        let Some(stream) = h2.open(token) else {
            return false;
        };
        // The deadline counts from when the turn began. What this turn has done since is time spent too.
        let now = self.now.max(self.read_at);
        let left = match &exchange.policy {
            Policy::Outbound(call) => call.deadline.remaining(now),
            Policy::Inbound(admission) => admission.deadline.remaining(now),
            Policy::Probe(probe) => Some(probe.timeout),
            Policy::None => None,
        };
        head::set_timeout(&mut exchange.head, left);
        let previous = attempt
            .picked
            .as_ref()
            .map_or(0, |picked| picked.previous_attempts);
        if previous > 0 {
            let previous = previous.to_string();
            exchange
                .head
                .set(Name::GrpcPreviousRpcAttempts, previous.as_bytes());
        }
        let end = exchange.request_ended && exchange.body.end() == 0;
        h2.send_headers(stream, &exchange.head, end);
        attempt.place = Place::Sent { link, stream };
        attempt.sent_end = end;
        if let Some(link) = self.links.arena.get_mut(link) {
            link.unsent.push(token);
        }
        if let Some(slot) = attempt.pending.take() {
            self.engine.free(slot);
        }
        self.send_request(current, key, index);
        true
    }
}
