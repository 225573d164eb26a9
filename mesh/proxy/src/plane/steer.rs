//! What the rest of the process wants of the data plane: identity, configuration, drain.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::oneshot;
use weft_identity::Identity;
use weft_model::dataplane::{Endpoint, Snapshot};
use weft_policy::{Failure, InboundFacts, Reason};

use super::{
    core::Core,
    ended::Ended,
    exchange::Policy,
    head::Lookup,
    kind::{Kind, Side},
    links::Current,
    pools::PoolKey,
};

impl Core {
    /// From here on connections prove who we are.
    pub(crate) fn identify(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
        self.wake_held();
    }

    /// Decides by `snapshot` from here on. Calls under way go on with what they have.
    pub(crate) fn configure(&mut self, snapshot: Arc<Snapshot>) {
        self.engine.update(&snapshot);
        self.inbound.update(snapshot.inbound.as_ref());
        let rules = snapshot.inbound.as_ref();
        if rules.is_some_and(|rules| !rules.is_dry_run) {
            self.authorize_again();
        }
        let methods = snapshot.targets.values().flat_map(|target| &target.methods);
        let paths: Vec<String> = methods
            .filter_map(|rule| {
                let (service, method) = (
                    rule.matches.service.as_ref()?,
                    rule.matches.method.as_ref()?,
                );
                Some(format!("/{service}/{method}"))
            })
            .collect();
        self.stats.know(paths.iter().map(String::as_str));
        self.forget_pools();
        self.snapshot = Some(snapshot);
        self.wake_held();
    }

    /// A name that this process resolves has these endpoints now.
    pub(crate) fn resolved(&mut self, authority: &str, endpoints: &[Endpoint]) {
        self.engine.resolved(authority, endpoints);
        self.forget_pools();
        self.wake_held();
    }

    /// Lets endpoints go that no target has any more, with their connections.
    fn forget_pools(&mut self) {
        let clusters = self.engine.clusters(self.now);
        let mut wanted: HashSet<PoolKey> = clusters
            .iter()
            .flat_map(|cluster| {
                let identity: Option<Arc<str>> = cluster.identity.as_deref().map(Into::into);
                cluster.endpoints.iter().map(move |endpoint| PoolKey {
                    address: endpoint.address,
                    identity: identity.clone(),
                })
            })
            .collect();
        wanted.insert(PoolKey {
            address: self.app,
            identity: None,
        });
        for key in self.pools.all.keys() {
            let Some(pool) = self.pools.all.get_mut(key) else {
                continue;
            };
            pool.is_forgotten = pool.key.identity.is_some() && !wanted.contains(&pool.key);
            if pool.is_forgotten {
                for link in pool.links.clone() {
                    self.leave(link);
                }
                self.pools.free_if_done(key);
            }
        }
    }

    /// New rules also hold for calls that are under way: a stream may last for hours.
    fn authorize_again(&mut self) {
        for key in self.exchanges.keys() {
            let Some(exchange) = self.exchanges.get(key) else {
                continue;
            };
            let Policy::Inbound(admission) = &exchange.policy else {
                continue;
            };
            let (caller, method) = (&admission.record.caller, &admission.record.method);
            let caller = caller.as_deref().unwrap_or_default();
            let decision = self.inbound.decide(&InboundFacts {
                caller,
                path: method,
                grpc_timeout: None,
                criticality: None,
                headers: &Lookup(&exchange.head),
            });
            if let Some(decision) = decision.filter(|decision| !decision.is_allowed()) {
                let rule = decision.rule();
                let message = format!("{caller} may not call {method} any more (rule `{rule}`)");
                let failure = Failure::new(Reason::CallerNotAllowed, message);
                self.fail(&mut Current::none(), key, failure);
            }
        }
    }

    /// Calls that wait for an endpoint ask again.
    fn wake_held(&mut self) {
        if self.identity.is_none() || !self.engine.is_configured() {
            return;
        }
        for key in self.exchanges.keys() {
            if self
                .exchanges
                .get(key)
                .is_some_and(|exchange| exchange.is_held)
            {
                self.next_attempt(&mut Current::none(), key);
            }
        }
    }

    /// Asks all callers of a side to go, and tells when they have gone.
    pub(crate) fn drain(&mut self, side: Side, done: oneshot::Sender<()>) {
        self.drained[side as usize] = Some(done);
        for key in self.links.arena.keys() {
            let found = self.links.arena.get(key);
            if found.is_some_and(|link| is_from(&link.kind, side)) {
                self.leave(key);
            }
        }
        self.left(side);
    }

    /// Ends the connections of a side that are still there.
    pub(crate) fn cut(&mut self, side: Side) {
        for key in self.links.arena.keys() {
            let found = self.links.arena.get(key);
            if found.is_some_and(|link| is_from(&link.kind, side)) {
                self.doomed.push((key, Ended::Closed));
            }
        }
    }

    /// Tells whoever waits for it that the last connection of a side has ended.
    pub(crate) fn left(&mut self, side: Side) {
        if self.connections(side) == 0
            && let Some(done) = self.drained[side as usize].take()
        {
            let _ = done.send(());
        }
    }

    /// How many callers of a side are connected.
    pub(crate) fn connections(&self, side: Side) -> usize {
        let links = self.links.arena.keys();
        let links = links.iter().filter_map(|&key| self.links.arena.get(key));
        links.filter(|link| is_from(&link.kind, side)).count()
    }
}

fn is_from(kind: &Kind, side: Side) -> bool {
    matches!(kind, Kind::Downstream { side: other, .. } if *other == side)
}
