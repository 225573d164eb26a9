//! How a case begins, and what its endpoints become.

use std::net::Ipv4Addr;

use super::*;
use crate::spec::{Check, EndpointSpec, Starts, State};

impl<'a> World<'a> {
    pub(super) fn new(suite: &'a Suite, case: &'a Case, is_told: bool) -> Self {
        let mut world = Self {
            suite,
            case,
            base: Instant::now(),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            rng: StdRng::seed_from_u64(case.seed),
            dice: StdRng::seed_from_u64(!case.seed),
            proxies: Vec::new(),
            callers: BTreeMap::new(),
            workloads: Vec::new(),
            by_address: HashMap::new(),
            calls: Vec::new(),
            counts: HashMap::new(),
            attempts: Vec::new(),
            story: Story::default(),
            is_told,
            watches_ejections: is_told || expects_ejections(case),
            lively: 0,
        };
        for (service, specs) in &case.endpoints {
            for spec in specs {
                world.add_workload(service, spec);
            }
        }
        for index in 0..world.workloads.len() {
            world.workloads[index].proxy = world.own_proxy(index);
        }
        for (kind, call) in case.calls.iter().enumerate() {
            world.caller(&call.from, &call.locality);
            world.schedule(kind, &call.starts);
        }
        world
    }

    fn add_workload(&mut self, service: &str, spec: &EndpointSpec) {
        let index = self.workloads.len();
        let address = address(index);
        let mut inbound = InboundEngine::default();
        inbound.update(self.suite.inbound.get(service));
        for (number, (time, _)) in spec.changes.iter().enumerate() {
            self.at(*time, Event::Change(index, number));
        }
        self.by_address.insert(address, index);
        self.workloads.push(Workload {
            endpoint: endpoint(address, &spec.name, &spec.start),
            service: service.to_owned(),
            is_there: spec.start.is_there,
            behaviour: spec.start.behaviour.clone(),
            step: (0, 0),
            inbound,
            marks: RetryMarks::default(),
            proxy: None,
            busy: 0,
            queue: VecDeque::new(),
            open: 0,
        });
        let behaviour = &spec.start.behaviour;
        if let Some(workers) = behaviour.workers {
            let mean = (behaviour.latency.low + behaviour.latency.high).as_secs_f64() / 2.0;
            let capacity = f64::from(workers) / mean.max(1e-6);
            *self.story.capacity.entry(service.to_owned()).or_default() += capacity;
        }
    }

    /// The outbound side of a workload's sidecar, if the workload ever calls anybody.
    fn own_proxy(&mut self, index: usize) -> Option<usize> {
        let case = self.case;
        let workload = &self.workloads[index];
        let specs = case.endpoints[&workload.service].iter();
        let mut specs = specs.filter(|spec| spec.name == workload.endpoint.instance);
        let calls = |state: &State| !state.behaviour.calls.is_empty();
        let is_caller = specs
            .any(|spec| calls(&spec.start) || spec.changes.iter().any(|(_, state)| calls(state)));
        if !is_caller {
            return None;
        }
        let account = &self.suite.mesh.services[&workload.service].service_account;
        let identity = self.suite.mesh.identity(account);
        let place = workload.endpoint.locality.clone();
        Some(self.add_proxy(identity, place))
    }

    fn add_proxy(&mut self, identity: String, locality: Locality) -> usize {
        let process = u32::try_from(self.proxies.len()).unwrap_or(u32::MAX);
        let mut engine = Engine::new(Options { locality, process });
        engine.update(&self.snapshot());
        self.proxies.push(Proxy {
            engine,
            identity,
            pools: HashMap::new(),
            connections_made: 0,
            probes_at: None,
        });
        let proxy = self.proxies.len() - 1;
        self.begin_watching(proxy);
        proxy
    }

    /// The proxy beside a caller that is no workload of the case.
    pub(super) fn caller(&mut self, from: &str, place: &Locality) -> usize {
        let key = (from.to_owned(), place.clone());
        if let Some(proxy) = self.callers.get(&key) {
            return *proxy;
        }
        let service = self.suite.mesh.services.get(from);
        let account = service.map_or(from, |service| &service.service_account.value);
        let proxy = self.add_proxy(self.suite.mesh.identity(account), place.clone());
        self.callers.insert(key, proxy);
        proxy
    }

    fn schedule(&mut self, kind: usize, starts: &Starts) {
        match *starts {
            Starts::At {
                first,
                every,
                times,
                is_random,
            } => {
                let mut time = first;
                for n in 0..times {
                    if is_random && n > 0 {
                        let pause: f64 = self.dice.random_range(f64::EPSILON..1.0);
                        time += every.mul_f64(-pause.ln());
                    } else {
                        time = first + every * n;
                    }
                    self.at(time, Event::Start(kind));
                }
            }
            Starts::Clients { first, clients, .. } => {
                for _ in 0..clients {
                    self.at(first, Event::Start(kind));
                }
            }
        }
    }

    pub(super) fn endpoints_of(&self, service: &str) -> Vec<Endpoint> {
        let here = self.workloads.iter();
        let here = here.filter(|workload| workload.is_there && workload.service == service);
        here.map(|workload| workload.endpoint.clone()).collect()
    }

    fn snapshot(&self) -> weft_model::dataplane::Snapshot {
        let target = |(authority, target): (&String, &Target)| {
            let endpoints = match &target.discovery {
                Discovery::Endpoints => self.endpoints_of(&target.service),
                // Each proxy resolves the name by itself, in its own time.
                Discovery::Dns(_) => Vec::new(),
            };
            let target = Target {
                endpoints,
                ..target.clone()
            };
            (authority.clone(), target)
        };
        weft_model::dataplane::Snapshot {
            targets: self.suite.targets.iter().map(target).collect(),
            ..Default::default()
        }
    }

    pub(super) fn change(&mut self, index: usize, number: usize) {
        let (case, workload) = (self.case, &mut self.workloads[index]);
        let specs = &case.endpoints[&workload.service];
        let spec = specs
            .iter()
            .find(|spec| spec.name == workload.endpoint.instance);
        let Some((_, state)) = spec.and_then(|spec| spec.changes.get(number)) else {
            return;
        };
        let endpoint = endpoint(
            workload.endpoint.address,
            &workload.endpoint.instance,
            state,
        );
        let is_same = workload.endpoint == endpoint && workload.is_there == state.is_there;
        workload.endpoint = endpoint;
        workload.is_there = state.is_there;
        if !Arc::ptr_eq(&workload.behaviour.answers, &state.behaviour.answers) {
            workload.step = (0, 0);
        }
        workload.behaviour = state.behaviour.clone();
        if is_same {
            return;
        }
        let snapshot = self.snapshot();
        for proxy in 0..self.proxies.len() {
            self.proxies[proxy].engine.update(&snapshot);
            self.configuration_changed(proxy);
            // An endpoint that has come is probed at once.
            self.plan_probes(proxy);
        }
    }

    pub(super) fn finish_story(mut self) -> Story {
        let ends = self.calls.iter().filter_map(|run| run.story.end.as_ref());
        self.story.ended = ends.map(|end| end.at).max().unwrap_or(self.now);
        let calls = std::mem::take(&mut self.calls);
        self.story.calls = calls.into_iter().map(call::Run::into_story).collect();
        let attempts = std::mem::take(&mut self.attempts);
        self.story.attempts = attempts.into_iter().map(|attempt| attempt.story).collect();
        self.story
    }
}

/// 10.0.0.1 and so on.
fn address(index: usize) -> SocketAddr {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let address = Ipv4Addr::new(10, 0, 0, 1).to_bits().saturating_add(index);
    SocketAddr::from((Ipv4Addr::from_bits(address), 15_006))
}

fn endpoint(address: SocketAddr, name: &str, state: &State) -> Endpoint {
    Endpoint {
        locality: state.locality.clone(),
        priority: state.priority,
        weight: state.weight,
        labels: state.labels.clone(),
        health: state.health,
        ..Endpoint::new(address, name)
    }
}

fn expects_ejections(case: &Case) -> bool {
    let own = case.calls.iter().flat_map(|call| &call.expect);
    let checks = own.chain(&case.expect).flat_map(|expect| &expect.checks);
    checks
        .into_iter()
        .any(|(_, check)| matches!(check, Check::Ejected(_) | Check::EjectedCount(_)))
}
