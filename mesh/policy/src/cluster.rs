//! The accounts of one target: its endpoints, its breakers and its retry budget.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};
use rand::RngCore;
use weft_model::dataplane::{Endpoint, Locality, Target, TlsMode};

use crate::{
    breaker::Breakers,
    outlier::{Ejections, Intervals},
    resolve::Rules,
    retry::RetryBudget,
    slab::{Id, Slab},
};

mod member;
mod outliers;
mod pool;
pub(crate) mod view;

pub(crate) use self::member::Member;

use self::pool::Pool;

/// One target and what is known about its endpoints.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) target: Arc<Target>,
    pub(crate) authority: Arc<str>,
    /// Whom its endpoints must prove to be. `None`: TLS is switched off.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) rules: Rules,
    pub(crate) budget: RetryBudget,
    pub(crate) breakers: Breakers,
    pub(crate) members: Slab<Member>,
    /// There was a call, so the health of its endpoints matters here.
    pub(crate) is_used: bool,
    own_locality: Arc<Locality>,
    /// All endpoints, then each subset in the order of its name.
    pools: Vec<Pool>,
    intervals: Intervals,
    pub(crate) ejections: Ejections,
    /// Counts what changes who may take calls.
    version: u64,
    /// Kept for calls that avoid endpoints, so that choosing takes no memory.
    scratch: Vec<u32>,
}

/// What [`Cluster::choose`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Endpoint(Id, Arc<Endpoint>),
    /// Every endpoint refuses connections for now; the first may be tried again at this instant.
    LeftAlone(Instant),
    /// There is no endpoint.
    Empty,
    /// The target has no subset of that name.
    NoSubset,
}

/// By what an endpoint is the same workload, whatever else was learnt about it.
fn workload(endpoint: &Endpoint) -> (SocketAddr, &str) {
    (endpoint.address, &endpoint.instance)
}

impl Cluster {
    pub(crate) fn new(authority: Arc<str>, target: &Target, own_locality: Arc<Locality>) -> Self {
        let throttling = target.retry_throttling.clone();
        let mut cluster = Self {
            identity: identity(target),
            rules: Rules::new(target),
            budget: RetryBudget::new(throttling.unwrap_or(RetryBudget::DEFAULT)),
            breakers: Breakers::new(target.circuit_breakers.clone()),
            target: Arc::new(target.clone()),
            authority,
            own_locality,
            members: Slab::default(),
            is_used: false,
            pools: Vec::new(),
            intervals: Intervals::default(),
            ejections: Ejections::default(),
            version: 0,
            scratch: Vec::new(),
        };
        cluster.set_members();
        cluster
    }

    /// Takes a new version of the target; endpoints and budget that stay keep their accounts.
    pub(crate) fn update(&mut self, target: &Target) {
        if *self.target == *target {
            return;
        }
        self.identity = identity(target);
        self.rules = Rules::new(target);
        self.target = Arc::new(target.clone());
        let throttling = target.retry_throttling.as_ref();
        let throttling = throttling.unwrap_or(&RetryBudget::DEFAULT);
        if self.budget.settings() != throttling {
            self.budget = RetryBudget::new(throttling.clone());
        }
        self.breakers.update(&target.circuit_breakers);
        self.set_members();
    }

    /// Other endpoints for the same target: what its name resolves to.
    pub(crate) fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        if self.target.endpoints == endpoints {
            return;
        }
        let mut target = Target::clone(&self.target);
        target.endpoints = endpoints.to_vec();
        self.target = Arc::new(target);
        self.set_members();
    }

    fn set_members(&mut self) {
        let target = Arc::clone(&self.target);
        let named = target.endpoints.iter();
        let named: HashSet<_> = named.map(workload).collect();
        let members = self.members.iter();
        let members = members.map(|(id, member)| (id, Arc::clone(&member.endpoint)));
        let (stay, gone): (Vec<_>, Vec<_>) =
            members.partition(|(_, endpoint)| named.contains(&workload(endpoint)));
        for (id, _) in gone {
            self.members.remove(id);
        }
        let known = stay.iter();
        let mut known: HashMap<_, _> = known.map(|(id, it)| (workload(it), *id)).collect();
        for endpoint in &target.endpoints {
            let id = known.get(&workload(endpoint));
            match id.and_then(|id| self.members.get_mut(*id)) {
                Some(member) if *member.endpoint == *endpoint => {}
                Some(member) => member.endpoint = Arc::new(endpoint.clone()),
                None => {
                    let id = self.members.insert(Member::new(endpoint));
                    known.insert(workload(endpoint), id);
                }
            }
        }
        self.version += 1;
        self.pools = Pool::all(&target, &self.members, &self.own_locality);
    }

    pub(crate) fn has_subset(&self, name: &str) -> bool {
        self.target.subsets.contains_key(name)
    }

    /// Chooses an endpoint: one that is not in `avoid` if there is one.
    pub(crate) fn choose(
        &mut self,
        subset: Option<&str>,
        avoid: &[Id],
        hash: Option<u64>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Choice {
        self.is_used = true;
        self.judge(now);
        let Some(pool) = self.pool(subset, now) else {
            return Choice::NoSubset;
        };
        let (pools, members, scratch) = (&mut self.pools, &self.members, &mut self.scratch);
        let Some(pool) = pools.get_mut(pool) else {
            return Choice::NoSubset;
        };
        let chosen = if avoid.is_empty() {
            pool.pick(hash, members, now, rng)
        } else {
            let other = pool.pick_other(avoid, hash, members, scratch, now, rng);
            other.or_else(|| pool.pick(hash, members, now, rng))
        };
        if let Some(index) = chosen
            && let (Some(id), Some(member)) = (members.id_at(index), members.at(index))
        {
            return Choice::Endpoint(id, Arc::clone(&member.endpoint));
        }
        let ends = pool
            .indices()
            .filter_map(|index| members.at(index)?.connect.until(now));
        ends.min().map_or(Choice::Empty, Choice::LeftAlone)
    }

    /// Whether some endpoint that may be tried now is not in `avoid`.
    pub(crate) fn has_other(&mut self, subset: Option<&str>, avoid: &[Id], now: Instant) -> bool {
        let Some(pool) = self.pool(subset, now) else {
            return false;
        };
        let members = &self.members;
        self.pools
            .get(pool)
            .is_some_and(|pool| pool.has_other(avoid, members))
    }

    /// The place of a subset's pool, whose view is made anew where something changed.
    fn pool(&mut self, subset: Option<&str>, now: Instant) -> Option<usize> {
        let place = match subset {
            None => 0,
            Some(name) => 1 + self.target.subsets.keys().position(|known| known == name)?,
        };
        let pool = self.pools.get_mut(place)?;
        let threshold = self.target.panic_threshold_percent;
        pool.refresh(self.version, &self.members, threshold, now);
        Some(place)
    }

    /// The endpoint of an attempt, unless it has gone meanwhile.
    pub(crate) fn member(&mut self, id: Id) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// Response headers came.
    pub(crate) fn answered(&mut self, id: Id, latency: Duration, now: Instant) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.load.observe(latency, now);
        if member.connect.until(now).is_some() {
            self.version += 1;
        }
        member.connect.succeeded();
    }

    /// A call to the endpoint ended well.
    pub(crate) fn succeeded(&mut self, id: Id) {
        if let Some(member) = self.members.get_mut(id) {
            member.outlier.succeeded();
        }
    }

    /// The endpoint takes no connections.
    pub(crate) fn refused(&mut self, id: Id, now: Instant, rng: &mut dyn RngCore) {
        if let Some(member) = self.members.get_mut(id) {
            member.connect.failed(now, rng);
            self.version += 1;
        }
    }

    /// What active probes say of an endpoint changed.
    pub(crate) fn health_changed(&mut self) {
        self.version += 1;
    }
}

fn identity(target: &Target) -> Option<Arc<str>> {
    match target.tls {
        TlsMode::Mutual => Some(target.identity.as_str().into()),
        TlsMode::Disable => None,
    }
}
