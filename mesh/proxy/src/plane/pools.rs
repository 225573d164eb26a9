//! Connections to endpoints and to the workload, shared by all calls to each.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{
    arena::{Arena, Key},
    exchange::Exchange,
    link::Link,
};

/// Where to, and who must answer: an address that another service took over is another pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) address: SocketAddr,
    /// The SPIFFE ID the peer must prove. `None`: cleartext, for the workload beside us and for targets
    /// whose TLS is switched off.
    pub(crate) identity: Option<Arc<str>>,
}

/// The connections to one endpoint, and who waits for one.
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    pub(super) links: Vec<Key<Link>>,
    /// Attempts that wait, the longest first. Circuit breakers bound their number.
    pub(super) waiting: VecDeque<(Key<Exchange>, usize)>,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// No target has the endpoint any more: the pool goes with its last connection.
    pub(super) is_forgotten: bool,
}

/// All pools.
#[derive(Default)]
pub(crate) struct Pools {
    pub(super) all: Arena<Pool>,
    index: HashMap<PoolKey, Key<Pool>, RandomState>,
}

impl Pools {
    /// The pool for this peer.
    pub(crate) fn find(&mut self, address: SocketAddr, identity: Option<&Arc<str>>) -> Key<Pool> {
        let key = PoolKey {
            address,
            identity: identity.map(Arc::clone),
        };
        if let Some(&pool) = self.index.get(&key) {
            return pool;
        }
        let pool = self.all.insert(Pool {
            key: key.clone(),
            links: Vec::new(),
            waiting: VecDeque::new(),
            tls: None,
            is_forgotten: false,
        });
        self.index.insert(key, pool);
        pool
    }

    pub(super) fn get(&self, pool: Key<Pool>) -> Option<&Pool> {
        self.all.get(pool)
    }

    /// Whom the peer must prove to be. `None`: it proves nothing.
    pub(crate) fn identity(&self, pool: Key<Pool>) -> Option<&Arc<str>> {
        self.get(pool)?.key.identity.as_ref()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether somebody waits for a connection.
    pub(super) fn has_waiting(&self, pool: Key<Pool>) -> bool {
        self.get(pool).is_some_and(|pool| !pool.waiting.is_empty())
    }

    /// Frees the pool of an endpoint that is gone, once nothing is left in it.
    pub(super) fn free_if_done(&mut self, key: Key<Pool>) {
        if let Some(pool) = self.all.get(key)
            && pool.is_forgotten
            && pool.links.is_empty()
            && pool.waiting.is_empty()
            && let Some(pool) = self.all.free(key)
        {
            pool.tls = None;
            self.index.remove(&pool.key);
        }
    }
}
