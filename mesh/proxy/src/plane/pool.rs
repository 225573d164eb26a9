//! Who gets which connection, and when another one is made.

use std::{collections::HashSet, sync::Arc};

use mio::net::TcpStream;
use weft_identity::{Expected, SpiffeId, client_config};
use weft_policy::Outcome;

use super::{
    arena::Key,
    core::Core,
    ended::Ended,
    exchange::{Exchange, Place},
    kind::{Kind, Phase, Token},
    link::Link,
    links::Current,
    pools::Pool,
    tls::Tls,
    turn,
};

/// Connections to one endpoint. Each carries as many streams as its peer allows.
const CONNECTIONS: usize = 8;

impl Core {
    /// Puts an attempt on a connection that has room, or makes it wait for one.
    pub(crate) fn find_link(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
    ) {
        let Some(exchange) = self.exchanges.get(key) else {
            return;
        };
        let (pool, caller) = (exchange.attempts[index].pool, exchange.down);
        if !self.pools.has_waiting(pool)
            && let Some(link) = self.with_room(current, pool, caller)
            && self.send(current, key, index, link)
        {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let attempt = &mut exchange.attempts[index];
        if let Some(picked) = &attempt.picked {
            match self.engine.pending(picked) {
                Ok(slot) => attempt.pending = Some(slot),
                Err(failure) => {
                    let outcome = Outcome::Broken(failure);
                    return self.attempt_failed(current, key, index, outcome);
                }
            }
        }
        attempt.place = Place::Waiting;
        if let Some(pool) = self.pools.all.get_mut(pool) {
            pool.waiting.push_back((key, index));
        }
        self.connect_if_needed(current, pool);
    }

    /// An open connection that takes another stream. Calls of one caller's connection share one where
    /// they can: their answers come together then, and are written together.
    fn with_room(
        &mut self,
        current: &mut Current<'_>,
        pool: Key<Pool>,
        caller: Key<Link>,
    ) -> Option<Key<Link>> {
        let links = &self.pools.get(pool)?.links;
        let first = caller.index() % links.len().max(1);
        (first..links.len())
            .chain(0..first)
            .map(|at| links[at])
            .find(|&key| {
                let Some(link) = self.links.arena.get(key) else {
                    return false;
                };
                let h2 = match current.link == key {
                    true => current.h2.as_deref(),
                    false => link.h2.as_deref(),
                };
                link.phase == Phase::Open && h2.is_some_and(|h2| h2.capacity_for_streams() > 0)
            })
    }

    /// Gives connections that have room to those who wait.
    pub(crate) fn pump(&mut self, current: &mut Current<'_>, pool: Key<Pool>) {
        while let Some(&(key, index)) = self.pools.get(pool).and_then(|pool| pool.waiting.front()) {
            let exchange = self.exchanges.get(key);
            let still_waits = exchange.filter(|exchange| {
                let attempt = exchange.attempts.get(index);
                attempt.is_some_and(|attempt| attempt.place == Place::Waiting)
            });
            if let Some(caller) = still_waits.map(|exchange| exchange.down) {
                let Some(link) = self.with_room(current, pool, caller) else {
                    return self.connect_if_needed(current, pool);
                };
                if !self.send(current, key, index, link) {
                    return;
                }
            }
            if let Some(pool) = self.pools.all.get_mut(pool) {
                pool.waiting.pop_front();
            }
        }
    }

    /// Makes a connection if some wait and none is being made.
    fn connect_if_needed(&mut self, current: &mut Current<'_>, pool: Key<Pool>) {
        let Some(Pool {
            links,
            waiting,
            key,
            ..
        }) = self.pools.get(pool)
        else {
            return;
        };
        let address = key.address;
        let mut leaving = 0;
        for &key in links {
            match self.links.arena.get(key) {
                Some(link) if link.phase == Phase::Connecting => return,
                // Streams that last keep it for as long; it must not take the place of a new one.
                Some(link) => leaving += usize::from(is_leaving(current, key, link)),
                None => {}
            }
        }
        let Some(&(key, index)) = waiting.front() else {
            return;
        };
        if links.len() - leaving >= CONNECTIONS {
            return;
        }
        let has_other = links.len() > leaving;
        let exchange = self.exchanges.get(key);
        let picked = exchange.and_then(|exchange| exchange.attempts.get(index)?.picked.as_ref());
        let slot = match picked
            .map(|picked| self.engine.connection(picked))
            .transpose()
        {
            Ok(slot) => slot,
            Err(_) if has_other => return,
            Err(failure) => {
                return self.fail_waiting(current, pool, &Outcome::Broken(failure));
            }
        };
        match TcpStream::connect(address) {
            Ok(socket) => {
                let kind = Kind::Upstream { pool, slot };
                let link = Link::new(socket, address, kind, self.now);
                let key = self.links.arena.insert(link);
                if let Some(pool) = self.pools.all.get_mut(pool) {
                    pool.links.push(key);
                }
                self.register(key);
            }
            Err(error) => {
                if let Some(slot) = slot {
                    self.engine.free(slot);
                }
                let message = format!("cannot connect: {error}");
                self.fail_waiting(current, pool, &Outcome::ConnectFailed(message));
            }
        }
    }

    fn register(&mut self, key: Key<Link>) {
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        if let Err(error) = link.register(&self.registry, turn::token(key)) {
            self.doomed.push((key, Ended::Io(error)));
        }
    }

    /// TLS for a link that has just connected.
    pub(crate) fn client_tls(&mut self, pool: Key<Pool>) -> Result<Option<Tls>, String> {
        let Some(Pool { key, tls, .. }) = self.pools.all.get_mut(pool) else {
            return Err("the endpoint is gone".to_owned());
        };
        let Some(identity) = &key.identity else {
            return Ok(None);
        };
        let config = match tls {
            Some(config) => Arc::clone(config),
            None => {
                let id = SpiffeId::parse(identity).map_err(|error| error.to_string())?;
                let Some(own) = &self.identity else {
                    return Err("this process has no identity to connect with".to_owned());
                };
                let config =
                    client_config(own, Expected::Id(id)).map_err(|error| error.to_string())?;
                Arc::clone(tls.insert(config))
            }
        };
        Tls::client(config, key.address.ip())
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// The peer's first SETTINGS have come, or others.
    pub(crate) fn upstream_opened(&mut self, current: &mut Current<'_>) {
        let Some(link) = self.links.arena.get_mut(current.link) else {
            return;
        };
        let Kind::Upstream { pool, .. } = link.kind else {
            return;
        };
        if link.phase == Phase::Connecting {
            link.phase = Phase::Open;
            link.was_open = true;
        }
        self.pump(current, pool);
    }

    /// A connection of a pool is gone. Those on it learn it; those who wait go on waiting only if
    /// another connection may take them.
    pub(crate) fn upstream_gone(
        &mut self,
        key: Key<Link>,
        pool: Key<Pool>,
        was_open: bool,
        (tokens, unsent): (&[Token], &[Token]),
        why: &str,
    ) {
        let current = &mut Current::none();
        if let Some(pool) = self.pools.all.get_mut(pool) {
            pool.links.retain(|&other| other != key);
        }
        let place = |token: &Token| (token.exchange.index(), token.attempt);
        let unsent: HashSet<_> = unsent.iter().map(place).collect();
        for &token in tokens {
            let exchange = self.exchanges.get(token.exchange);
            let attempts = exchange.map_or(&[][..], |exchange| &exchange.attempts);
            let attempt = attempts.get(usize::from(token.attempt));
            let is_on = |place| matches!(place, Place::Sent { link, .. } if link == key);
            if !attempt.is_some_and(|attempt| is_on(attempt.place)) {
                continue;
            }
            let outcome = if unsent.contains(&place(&token)) {
                Outcome::Refused(format!("the connection broke before: {why}"))
            } else {
                let message = format!("the upstream connection broke: {why}");
                Outcome::Broken(super::outcome::reset(None, message))
            };
            self.attempt_broke(current, token, outcome);
        }
        let others = self.pools.get(pool).map_or(&[][..], |pool| &pool.links);
        let has_other = others.iter().any(|&other| {
            self.links
                .arena
                .get(other)
                .is_some_and(|link| link.phase != Phase::Closing)
        });
        if was_open || has_other {
            self.pump(current, pool);
        } else {
            self.fail_waiting(current, pool, &Outcome::ConnectFailed(why.to_owned()));
        }
        self.pools.free_if_done(pool);
    }

    fn fail_waiting(&mut self, current: &mut Current<'_>, pool: Key<Pool>, outcome: &Outcome) {
        let Some(pool) = self.pools.all.get_mut(pool) else {
            return;
        };
        let waiting = std::mem::take(&mut pool.waiting);
        for (key, index) in waiting {
            let exchange = self.exchanges.get(key);
            let attempt = exchange.and_then(|exchange| exchange.attempts.get(index));
            if attempt.is_some_and(|attempt| attempt.place == Place::Waiting) {
                self.attempt_failed(current, key, index, outcome.clone());
            }
        }
    }
}

/// Whether a connection takes no new streams any more, by our wish or the peer's.
fn is_leaving(current: &Current<'_>, key: Key<Link>, link: &Link) -> bool {
    let h2 = match current.link == key {
        true => current.h2.as_deref(),
        false => link.h2.as_deref(),
    };
    link.leaving_since.is_some() || h2.is_some_and(|h2| h2.is_peer_going_away() || h2.is_worn_out())
}
