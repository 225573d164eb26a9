//! The beginning of a call: where it goes, by which rules, and whether there is room for it.

use std::{sync::Arc, time::Instant};

use rand::RngCore;
use smallvec::SmallVec;
use weft_model::dataplane::{Backend, LoadBalancing};

use crate::{
    balance::ring,
    breaker::Kind,
    call::Call,
    deadline::{Deadline, parse_timeout},
    engine::Engine,
    facts::{Headers, RequestFacts},
    fault,
    hedge::HedgeState,
    record::{DecisionRecord, Failure, Reason},
    resolve::{Resolution, Route},
    retry::RetryState,
    slab::Id,
};

/// Where a call goes.
struct Destination {
    backend: Id,
    authority: Option<Arc<str>>,
    subset: Option<Arc<str>>,
}

impl Engine {
    /// Begins a call: finds its route and rule, sets its deadline, and counts it. Every admitted call is
    /// [`Self::finished`] once.
    ///
    /// # Errors
    /// The answer to give where there is no such target or no room for the call.
    pub fn admit(
        &mut self,
        request: RequestFacts<'_>,
        now: Instant,
        mut rng: &mut (impl RngCore + ?Sized),
    ) -> Result<Call, Failure> {
        self.admit_by(request, now, &mut rng)
    }

    /// Not generic, so that it is compiled once, and in this crate.
    fn admit_by(
        &mut self,
        request: RequestFacts<'_>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Result<Call, Failure> {
        let Some(&owner) = self.names.get(request.authority) else {
            return Err(self.unknown(request.authority));
        };
        let Some(cluster) = self.clusters.get_mut(owner) else {
            return Err(self.unknown(request.authority));
        };
        let resolution = cluster.rules.resolve(request.path);
        let target = Arc::clone(&cluster.authority);
        let route = resolution.route(request.headers).map(Arc::clone);
        let destination = self.destination(owner, route.as_deref(), rng)?;
        let hash = self.count(&destination, request.headers)?;
        let record = self.record(target, &resolution, &destination);
        let asked = request.grpc_timeout.and_then(parse_timeout);
        let method = &resolution.method;
        let deadline = Deadline::starting(now, asked, method.timeout);
        let mut call = Self::call(record, deadline, owner, destination.backend);
        call.hash = hash;
        if !request.is_retry {
            call.retry = RetryState::new(method.retry.clone());
            call.hedge = method.hedging.clone().map(HedgeState::new);
        }
        if let Some(route) = route {
            follow(&mut call, route, method.has_no_side_effects, rng);
        }
        Ok(call)
    }

    /// Begins the call that carries a copy of `call`'s request to `backend`. It is never repeated.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_copy(
        &mut self,
        call: &Call,
        backend: &Backend,
        now: Instant,
    ) -> Result<Call, Failure> {
        let Some(&id) = self.names.get(backend.authority.as_str()) else {
            return Err(self.unknown(&backend.authority));
        };
        let destination = Destination {
            backend: id,
            authority: None,
            subset: backend.subset.as_deref().map(Into::into),
        };
        let hash = self.count(&destination, &crate::facts::NoHeaders)?;
        let cluster = self.clusters.get(id);
        let record = DecisionRecord {
            id: self.ids.next(),
            target: cluster
                .map(|cluster| Arc::clone(&cluster.authority))
                .unwrap_or_default(),
            method: Arc::clone(&call.record.method),
            rule: Arc::clone(&call.record.rule),
            route: call.record.route.clone(),
            subset: destination.subset,
            is_cleartext: self.is_cleartext(id),
            ..DecisionRecord::default()
        };
        let deadline = call.deadline.at_most(now, None);
        let mut copy = Self::call(record, deadline, id, id);
        copy.hash = hash.or(call.hash);
        Ok(copy)
    }

    fn call(record: DecisionRecord, deadline: Deadline, owner: Id, backend: Id) -> Call {
        Call {
            record,
            deadline,
            copies: Vec::new(),
            retry: RetryState::default(),
            hedge: None,
            owner,
            backend,
            route: None,
            hash: None,
            under_way: SmallVec::new(),
            committed: None,
            is_over: false,
            holds_retry: false,
            is_spent: false,
            avoid: Vec::new(),
            held_since: None,
            rounds: 0,
            last_failure: None,
        }
    }

    fn record(
        &mut self,
        target: Arc<str>,
        resolution: &Resolution,
        destination: &Destination,
    ) -> DecisionRecord {
        let (path, rule) = (&resolution.path, &resolution.method.name);
        let (path, rule) = (Arc::clone(path), Arc::clone(rule));
        DecisionRecord {
            backend: destination.authority.clone(),
            subset: destination.subset.clone(),
            is_cleartext: self.is_cleartext(destination.backend),
            ..DecisionRecord::new(self.ids.next(), target, path, rule)
        }
    }

    fn is_cleartext(&self, backend: Id) -> bool {
        let cluster = self.clusters.get(backend);
        cluster.is_some_and(|cluster| cluster.identity.is_none())
    }

    fn destination(
        &self,
        owner: Id,
        route: Option<&Route>,
        rng: &mut dyn RngCore,
    ) -> Result<Destination, Failure> {
        let own = Destination {
            backend: owner,
            authority: None,
            subset: None,
        };
        let Some(route) = route else { return Ok(own) };
        let Ok(backend) = route.backend(rng) else {
            let message = format!("no backend of the route `{}` has a weight", route.name);
            return Err(Failure::new(Reason::NoHealthyEndpoint, message));
        };
        let Some(backend) = backend else {
            return Ok(own);
        };
        match self.names.get(&backend.authority) {
            Some(&id) => Ok(Destination {
                backend: id,
                authority: (id != owner).then(|| Arc::clone(&backend.authority)),
                subset: backend.subset.clone(),
            }),
            None => {
                let (route, authority) = (&route.name, &backend.authority);
                let message = format!(
                    "the route `{route}` leads to `{authority}`, which the mesh does not have"
                );
                Err(Failure::new(Reason::UnknownService, message))
            }
        }
    }

    /// Counts the call at the target it goes to, and finds its place on that target's ring.
    fn count(
        &mut self,
        destination: &Destination,
        headers: &dyn Headers,
    ) -> Result<Option<u64>, Failure> {
        let Some(cluster) = self.clusters.get_mut(destination.backend) else {
            return Ok(None);
        };
        if let Some(subset) = &destination.subset
            && !cluster.has_subset(subset)
        {
            let message = format!("`{}` has no subset `{subset}`", cluster.authority);
            return Err(Failure::new(Reason::NoHealthyEndpoint, message));
        }
        cluster.breakers.take(Kind::Requests, &cluster.authority)?;
        let LoadBalancing::RingHash { header, .. } = &cluster.target.load_balancing else {
            return Ok(None);
        };
        Ok(headers.get(header).map(|value| ring::hash(&value)))
    }

    fn unknown(&self, authority: &str) -> Failure {
        if self.is_configured {
            let mut message = format!("the mesh has no service `{authority}`");
            if let Some(meant) = self.namesake(authority) {
                message.push_str(&format!("; is `{meant}` meant?"));
            }
            Failure::new(Reason::UnknownService, message)
        } else {
            let message = "no configuration has come from the control plane yet";
            Failure::new(Reason::NoConfiguration, message)
        }
    }

    /// The target of the same name: callers forget the port, or write the name as elsewhere.
    fn namesake(&self, authority: &str) -> Option<&str> {
        fn name(authority: &str) -> Option<&str> {
            authority.split([':', '.']).next()
        }
        let known = self.names.keys().map(AsRef::as_ref);
        known.filter(|known| name(known) == name(authority)).min()
    }
}

/// Does to the call what its route asks for.
fn follow(call: &mut Call, route: Arc<Route>, is_safe: bool, rng: &mut dyn RngCore) {
    call.record.route = Some(Arc::clone(&route.name));
    // A copy of a call that changes something would change it twice.
    for mirror in route.mirrors.iter().filter(|_| is_safe) {
        if fault::is_within(mirror.share_per_100_000, rng) {
            call.copies.push(mirror.backend.clone());
        }
    }
    call.route = Some(route);
}
