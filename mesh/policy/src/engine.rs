//! The facade an executor drives: admit a call, pick an endpoint, report the outcome, do what is next.

use std::{collections::HashMap, sync::Arc, time::Instant};

use rand::RngCore;
use smallvec::SmallVec;
use weft_model::dataplane::{
    Backend, Discovery, DnsName, Endpoint, HeaderChanges, LoadBalancing, Locality, Snapshot,
};

use crate::{
    balance::ring,
    breaker::Kind,
    call::Call,
    cluster::Cluster,
    deadline::{Deadline, parse_timeout},
    facts::{Headers, RequestFacts},
    fault,
    hedge::HedgeState,
    record::{DecisionId, DecisionRecord, Failure, Reason},
    resolve::{Resolution, Route},
    retry::RetryState,
    slab::{Id, Slab},
};

mod accounts;
mod attempts;
mod outcome;
mod probes;
mod status;

pub use status::{ClusterStatus, EndpointStatus};

/// The accounts of every target, and the decisions about calls to them.
#[derive(Debug, Default)]
pub struct Engine {
    names: HashMap<Arc<str>, Id>,
    clusters: Slab<Cluster>,
    locality: Arc<Locality>,
    ids: DecisionId,
    no_headers: Arc<HeaderChanges>,
    is_configured: bool,
}

/// What an engine is told once about its process.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where this process runs: near endpoints are used first.
    pub locality: Locality,
    /// A random number by which decision ids of processes differ.
    pub process: u32,
}

/// Where a call goes.
struct Destination {
    backend: Id,
    authority: Option<Arc<str>>,
    subset: Option<Arc<str>>,
}

impl Engine {
    /// An engine that knows where it runs. [`Engine::default`] does not.
    pub fn new(options: Options) -> Self {
        Self {
            locality: Arc::new(options.locality),
            ids: DecisionId::first(options.process),
            ..Self::default()
        }
    }

    /// Takes a new snapshot. What stays keeps its accounts; calls under way go on with what they have.
    /// Endpoints of names that proxies resolve stay until [`Self::resolved`] gives others.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.is_configured = true;
        let clusters = &mut self.clusters;
        self.names.retain(|authority, id| {
            let stays = snapshot.targets.contains_key(&**authority);
            if !stays {
                clusters.remove(*id);
            }
            stays
        });
        for (authority, target) in &snapshot.targets {
            let known = self.names.get(authority.as_str());
            if let Some(cluster) = known.and_then(|id| clusters.get_mut(*id)) {
                let is_same_name = matches!(target.discovery, Discovery::Dns(_))
                    && target.discovery == cluster.target.discovery;
                if is_same_name && target.endpoints.is_empty() {
                    let mut target = target.clone();
                    target.endpoints.clone_from(&cluster.target.endpoints);
                    cluster.update(&target);
                } else {
                    cluster.update(target);
                }
            } else {
                let name: Arc<str> = authority.as_str().into();
                let cluster = Cluster::new(Arc::clone(&name), target, Arc::clone(&self.locality));
                self.names.insert(name, clusters.insert(cluster));
            }
        }
    }

    /// The names that the executor resolves, by the authority of the target that has them.
    pub fn dns_names(&self) -> impl Iterator<Item = (&str, &DnsName)> {
        let clusters = self.clusters.iter();
        clusters.filter_map(|(_, cluster)| match &cluster.target.discovery {
            Discovery::Dns(name) => Some((&*cluster.authority, name)),
            Discovery::Endpoints => None,
        })
    }

    /// What the name of a target with [`Discovery::Dns`] resolves to now.
    pub fn resolved(&mut self, authority: &str, endpoints: &[Endpoint]) {
        let id = self.names.get(authority);
        if let Some(cluster) = id.and_then(|id| self.clusters.get_mut(*id)) {
            cluster.set_endpoints(endpoints);
        }
    }

    /// Whether a snapshot has come.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Whether `authority` has an endpoint, healthy or not.
    pub fn has_endpoints(&self, authority: &str) -> bool {
        let id = self.names.get(authority);
        let cluster = id.and_then(|id| self.clusters.get(*id));
        cluster.is_some_and(|cluster| !cluster.target.endpoints.is_empty())
    }

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
        let mut call = self.call(record, deadline, owner, destination.backend);
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
            ..DecisionRecord::default()
        };
        let deadline = call.deadline.at_most(now, None);
        let mut copy = self.call(record, deadline, id, id);
        copy.hash = hash.or(call.hash);
        Ok(copy)
    }

    fn call(&self, record: DecisionRecord, deadline: Deadline, owner: Id, backend: Id) -> Call {
        Call {
            record,
            deadline,
            request_headers: Arc::clone(&self.no_headers),
            response_headers: Arc::clone(&self.no_headers),
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
        DecisionRecord {
            id: self.ids.next(),
            target,
            method: Arc::clone(&resolution.path),
            caller: None,
            rule: Arc::clone(&resolution.method.name),
            route: None,
            backend: destination.authority.clone(),
            subset: destination.subset.clone(),
            endpoint: None,
            attempts: 0,
            hedges: 0,
            transparent_retries: 0,
            failures: Vec::new(),
            retry_stop: None,
            reason: Reason::Answered,
        }
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
            let message = format!("the mesh has no service `{authority}`");
            Failure::new(Reason::UnknownService, message)
        } else {
            let message = "no configuration has come from the control plane yet";
            Failure::new(Reason::NoConfiguration, message)
        }
    }
}

/// Does to the call what its route asks for.
fn follow(call: &mut Call, route: Arc<Route>, is_safe: bool, rng: &mut dyn RngCore) {
    call.record.route = Some(Arc::clone(&route.name));
    call.request_headers = Arc::clone(&route.request_headers);
    call.response_headers = Arc::clone(&route.response_headers);
    // A copy of a call that changes something would change it twice.
    for mirror in route.mirrors.iter().filter(|_| is_safe) {
        if fault::is_within(mirror.share_per_100_000, rng) {
            call.copies.push(mirror.backend.clone());
        }
    }
    call.route = Some(route);
}
