//! Connections to endpoints, and the places that circuit breakers count.

use weft_policy::Outcome;

use super::*;
use crate::words::Reply;

impl World<'_> {
    /// Puts an attempt on a connection, or lets it wait for one.
    pub(super) fn connect(&mut self, id: AttemptId) {
        let Some((proxy, address)) = self.way(id) else {
            return;
        };
        let streams = self.workloads[self.attempts[id].workload].behaviour.streams;
        let refuses = self.next_reply(id) == Reply::Refuses;
        let pool = self.proxies[proxy].pools.entry(address).or_default();
        if refuses {
            // Nobody listens there any more: what is not in use is gone.
            self.close_idle(proxy, address);
        } else if let Some(connection) = pool
            .connections
            .iter_mut()
            .filter(|connection| connection.is_ready && connection.streams < streams)
            .min_by_key(|connection| connection.streams)
        {
            connection.streams += 1;
            self.attempts[id].connection = Some(connection.id);
            return self.arrive(id);
        }
        self.wait_for_connection(id, proxy, address);
    }

    fn way(&self, id: AttemptId) -> Option<(usize, SocketAddr)> {
        let attempt = self.attempts[id].attempt.as_ref()?;
        let proxy = self.calls[self.attempts[id].call].proxy;
        Some((proxy, attempt.endpoint.address))
    }

    fn wait_for_connection(&mut self, id: AttemptId, proxy: usize, address: SocketAddr) {
        let Some(attempt) = &self.attempts[id].attempt else {
            return;
        };
        let engine = &mut self.proxies[proxy].engine;
        let pending = match engine.pending(attempt) {
            Ok(pending) => pending,
            Err(failure) => return self.ended(id, &Outcome::Broken(failure)),
        };
        let pool = self.proxies[proxy].pools.entry(address).or_default();
        let is_opening = pool
            .connections
            .iter()
            .any(|connection| !connection.is_ready);
        if !is_opening {
            let engine = &mut self.proxies[proxy].engine;
            match engine.connection(attempt) {
                Ok(slot) => self.open(proxy, address, slot, id),
                Err(failure) => {
                    let pool = self.proxies[proxy].pools.entry(address).or_default();
                    if pool.connections.is_empty() {
                        self.proxies[proxy].engine.free(pending);
                        return self.ended(id, &Outcome::Broken(failure));
                    }
                }
            }
        }
        self.attempts[id].is_waiting = true;
        let pool = self.proxies[proxy].pools.entry(address).or_default();
        pool.waiting.push_back((id, Some(pending)));
    }

    fn open(&mut self, proxy: usize, address: SocketAddr, slot: Slot, id: AttemptId) {
        let workload = &self.workloads[self.attempts[id].workload];
        let (name, connect) = (
            workload.endpoint.instance.clone(),
            workload.behaviour.connect,
        );
        let proxies = &mut self.proxies[proxy];
        proxies.connections_made += 1;
        let number = proxies.connections_made;
        let pool = proxies.pools.entry(address).or_default();
        pool.connections.push(Connection {
            id: number,
            slot: Some(slot),
            is_ready: false,
            streams: 0,
        });
        let count = u32::try_from(pool.connections.len()).unwrap_or(u32::MAX);
        let most = self.story.connections.entry(name).or_default();
        *most = count.max(*most);
        let wait = connect.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT);
        self.after(wait, Event::Connected(proxy, address, number));
    }

    pub(super) fn connected(&mut self, proxy: usize, address: SocketAddr, number: u64) {
        let Some(&workload) = self.by_address.get(&address) else {
            return;
        };
        let is_never = self.workloads[workload]
            .behaviour
            .connect
            .is_none_or(|wait| wait > CONNECT_TIMEOUT);
        let refused = self.proxies[proxy]
            .pools
            .get(&address)
            .and_then(|pool| pool.waiting.front());
        let refused = refused.map(|(id, _)| *id);
        let refuses = refused.is_some_and(|id| self.next_reply(id) == Reply::Refuses);
        if !is_never && !refuses {
            if let Some(pool) = self.proxies[proxy].pools.get_mut(&address)
                && let Some(connection) = pool.connections.iter_mut().find(|c| c.id == number)
            {
                connection.is_ready = true;
            }
            return self.serve_waiting(proxy, address);
        }
        self.close(proxy, address, number);
        let Some(id) = refused else { return };
        self.stop_waiting(proxy, address, id);
        let why = if is_never {
            format!("no connection within {CONNECT_TIMEOUT:?}")
        } else {
            self.take_answer(id);
            "connection refused".to_owned()
        };
        self.ended(id, &Outcome::ConnectFailed(why));
        self.serve_waiting(proxy, address);
    }

    /// Gives free streams to whoever waits, and opens a connection for the others.
    fn serve_waiting(&mut self, proxy: usize, address: SocketAddr) {
        let Some(pool) = self.proxies[proxy].pools.get_mut(&address) else {
            return;
        };
        // Whoever still finds none waits again, behind nobody it was before.
        let waiting: Vec<_> = pool.waiting.iter().map(|(id, _)| *id).collect();
        for id in waiting {
            let pool = self.proxies[proxy].pools.get(&address);
            let streams = self.workloads[self.attempts[id].workload].behaviour.streams;
            let has_room = pool.is_some_and(|pool| {
                let free = |c: &Connection| c.is_ready && c.streams < streams;
                pool.connections.iter().any(free) || pool.connections.iter().all(|c| c.is_ready)
            });
            if has_room && self.attempts[id].is_waiting {
                self.stop_waiting(proxy, address, id);
                self.connect(id);
            }
        }
    }

    fn stop_waiting(&mut self, proxy: usize, address: SocketAddr, id: AttemptId) {
        self.attempts[id].is_waiting = false;
        let proxy = &mut self.proxies[proxy];
        let Some(pool) = proxy.pools.get_mut(&address) else {
            return;
        };
        if let Some(index) = pool.waiting.iter().position(|(waiting, _)| *waiting == id)
            && let Some((_, Some(slot))) = pool.waiting.remove(index)
        {
            proxy.engine.free(slot);
        }
    }

    /// The stream of an attempt is over: another may have its place.
    pub(super) fn leave_connection(&mut self, proxy: usize, address: SocketAddr, id: AttemptId) {
        if self.attempts[id].is_waiting {
            self.stop_waiting(proxy, address, id);
        }
        let Some(number) = self.attempts[id].connection.take() else {
            return;
        };
        if let Some(pool) = self.proxies[proxy].pools.get_mut(&address) {
            if let Some(connection) = pool.connections.iter_mut().find(|c| c.id == number) {
                connection.streams = connection.streams.saturating_sub(1);
            }
            if !pool.waiting.is_empty() {
                self.serve_waiting(proxy, address);
            }
        }
    }

    fn close(&mut self, proxy: usize, address: SocketAddr, number: u64) {
        self.close_where(proxy, address, |connection| connection.id == number);
    }

    pub(super) fn close_idle(&mut self, proxy: usize, address: SocketAddr) {
        self.close_where(proxy, address, |connection| {
            connection.is_ready && connection.streams == 0
        });
    }

    fn close_where(
        &mut self,
        proxy: usize,
        address: SocketAddr,
        which: impl Fn(&Connection) -> bool,
    ) {
        let proxy = &mut self.proxies[proxy];
        let Some(pool) = proxy.pools.get_mut(&address) else {
            return;
        };
        for connection in pool.connections.iter_mut().filter(|c| which(c)) {
            if let Some(slot) = connection.slot.take() {
                proxy.engine.free(slot);
            }
        }
        pool.connections
            .retain(|connection| connection.slot.is_some());
    }
}
