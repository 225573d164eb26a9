//! Callers and workloads that do anything in any order take no sidecar down, harm nobody, and leave nothing behind.
//! `WEFT_SECONDS` makes it last longer, `WEFT_SEED` does the same things again, as far as their time is the same.

use std::{
    collections::HashSet,
    env,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{net::TcpListener, time::timeout};
use weft_model::dataplane::{
    CircuitBreakers, HedgingPolicy, LoadBalancing, MethodMatch, MethodRule, Snapshot, Target,
};

use crate::{
    attacker::Door,
    support::{AUTHORITY, Mesh, Running, client_to, eventually},
    wild::Wild,
};

const WORKLOADS: usize = 2;
const CALLERS: usize = 12;
/// A workload that does as it should.
const SANE: &str = "sane:7070";
/// For a call beside all this.
const PATIENCE: Duration = Duration::from_secs(3);

/// What chance begins with.
pub static SEED: LazyLock<u64> = LazyLock::new(|| {
    let seed = env::var("WEFT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("WEFT_SEED={seed}");
    seed
});

/// How long it goes on.
pub fn duration() -> Duration {
    let seconds = env::var("WEFT_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// A workload for each connection.
pub async fn workload(seed: u64, until: Instant) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let wild = Wild::new(Box::new(tcp), false, StdRng::from_rng(&mut rng));
            tokio::spawn(wild.live(until));
        }
    });
    address
}

/// Other timeouts, hedges and retries.
pub fn vary(target: &mut Target, rng: &mut StdRng) {
    let hedged = MethodRule {
        matches: MethodMatch {
            service: Some("test.Echo".to_owned()),
            method: Some("Hedged".to_owned()),
        },
        hedging_policy: Some(HedgingPolicy {
            max_attempts: 3,
            hedging_delay: Duration::from_millis(rng.random_range(0..20)),
            non_fatal_status_codes: vec![14],
        }),
        ..MethodRule::default()
    };
    target.methods.insert(0, hedged);
    for rule in &mut target.methods {
        rule.timeout = Some(Duration::from_millis(rng.random_range(1..3_000)));
        if let Some(retry) = &mut rule.retry_policy {
            retry.per_attempt_timeout = rng.random_bool(0.5).then_some(Duration::from_millis(30));
        }
    }
    let balancings = [LoadBalancing::LeastRequest, LoadBalancing::RoundRobin];
    target.load_balancing = balancings.choose(rng).unwrap().clone();
}

/// Other policies for the wild ones each time. The sane workload behind the last has a name of its own.
fn policies(mesh: &Mesh, servers: &[Running], rng: &mut StdRng) -> Snapshot {
    let endpoints: Vec<_> = servers.iter().map(|server| server.inbound).collect();
    let (&sane, endpoints) = endpoints.split_last().unwrap();
    let some = rng.random_range(1..=endpoints.len());
    let mut snapshot = mesh.calling(&endpoints[..some]);
    let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
    vary(target, rng);
    target.circuit_breakers = CircuitBreakers {
        max_requests: rng.random_range(1..200),
        max_pending_requests: rng.random_range(1..20),
        max_connections: rng.random_range(1..4),
        ..CircuitBreakers::default()
    };
    let sane = Target {
        authority: SANE.to_owned(),
        ..mesh.target(&[sane])
    };
    snapshot.targets.insert(SANE.to_owned(), sane);
    snapshot
}

/// Calls the sane workload all the time. How often.
async fn bystander(sidecar: SocketAddr, until: Instant) -> usize {
    let mut client = client_to(SANE, sidecar).await;
    let mut calls = 0;
    while Instant::now() < until {
        let answer = timeout(PATIENCE, client.unary("well?")).await;
        assert_eq!(answer.expect("an answer in time").unwrap(), "well?");
        calls += 1;
    }
    calls
}

async fn caller(door: Door, mut rng: StdRng, until: Instant) {
    while Instant::now() < until {
        let io = door.connect().await.stream;
        let wild = Wild::new(io, true, StdRng::from_rng(&mut rng));
        wild.live(until).await;
    }
}

/// What is left of gauges that must be back at zero.
fn left(sidecar: &Running) -> Vec<String> {
    let gauges = [
        "weft_downstream_connections",
        "weft_downstream_held_bytes",
        "weft_upstream_requests",
        "weft_upstream_pending_requests",
        "weft_upstream_retries{",
        "weft_inbound_in_flight",
    ];
    let metrics = sidecar.metrics.encode();
    let is_left =
        |line: &&str| gauges.iter().any(|gauge| line.starts_with(gauge)) && !line.ends_with(" 0.0");
    metrics.lines().filter(is_left).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_without_any_sense_harm_nobody_and_leave_nothing_behind() {
    let mut rng = StdRng::seed_from_u64(*SEED);
    let until = Instant::now() + duration();
    let mesh = Mesh::new("disorder.local");
    let mut servers = Vec::new();
    for _ in 0..WORKLOADS {
        let app = workload(rng.random(), until).await;
        servers.push(mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await);
    }
    let (_echo, sane, _) = mesh.echo().await;
    servers.push(sane);
    let sidecar = mesh.caller("orders", &[]).await;
    sidecar.set(policies(&mesh, &servers, &mut rng));
    let mut doors = vec![Door::outbound(&sidecar)];
    doors.extend(servers.iter().map(|server| Door::inbound(&mesh, server)));
    let doors = doors.iter().cycle().take(CALLERS).cloned();
    let callers: Vec<_> = doors
        .map(|door| tokio::spawn(caller(door, StdRng::from_rng(&mut rng), until)))
        .collect();
    let bystander = tokio::spawn(bystander(sidecar.outbound, until));
    while Instant::now() < until {
        sidecar.set(policies(&mesh, &servers, &mut rng));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(bystander.await.unwrap() > 10);
    // It keeps no connection to whom it does not know any more.
    sidecar.set(Snapshot::default());
    for running in servers.iter().chain([&sidecar]) {
        assert!(!running.task.is_finished());
        eventually("nothing is left of them", || left(running).is_empty()).await;
        let metrics = running.metrics.encode();
        let series = metrics.lines().filter(|line| !line.starts_with('#'));
        let mut names = HashSet::new();
        for (name, _) in series.filter_map(|line| line.rsplit_once(' ')) {
            assert!(names.insert(name), "{name} is there twice");
        }
    }
}
