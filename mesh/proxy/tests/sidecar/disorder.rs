//! Callers and workloads that do anything in any order take no sidecar down, and leave nothing behind.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::net::TcpListener;
use weft_model::dataplane::{
    CircuitBreakers, HedgingPolicy, LoadBalancing, MethodMatch, MethodRule, Snapshot,
};

use crate::{
    attacker::Door,
    support::{AUTHORITY, Mesh, Running, eventually},
    wild::Wild,
};

const WORKLOADS: usize = 2;
const CALLERS: usize = 12;

/// A workload for each connection.
async fn workload(seed: u64, until: Instant) -> std::net::SocketAddr {
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

/// Other policies each time.
fn policies(mesh: &Mesh, servers: &[Running], rng: &mut StdRng) -> Snapshot {
    let endpoints: Vec<_> = servers.iter().map(|server| server.inbound).collect();
    let some = rng.random_range(1..=endpoints.len());
    let mut snapshot = mesh.calling(&endpoints[..some]);
    let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
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
    target.circuit_breakers = CircuitBreakers {
        max_requests: rng.random_range(1..200),
        max_pending_requests: rng.random_range(1..20),
        max_connections: rng.random_range(1..4),
        ..CircuitBreakers::default()
    };
    snapshot
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
async fn peers_without_any_sense_take_nothing_down_and_leave_nothing_behind() {
    let seed =
        std::env::var("WEFT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let seconds = std::env::var("WEFT_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    println!("WEFT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mesh = Mesh::new("disorder.local");
    let mut servers = Vec::new();
    for _ in 0..WORKLOADS {
        let app = workload(rng.random(), until).await;
        servers.push(mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await);
    }
    let sidecar = mesh
        .caller_of(&servers.iter().collect::<Vec<_>>(), |_| ())
        .await;
    let doors = [Door::outbound(&sidecar), Door::inbound(&mesh, &servers[0])];
    let doors = doors.iter().cycle().take(CALLERS).cloned();
    let callers: Vec<_> = doors
        .map(|door| tokio::spawn(caller(door, StdRng::from_rng(&mut rng), until)))
        .collect();
    while Instant::now() < until {
        sidecar.set(policies(&mesh, &servers, &mut rng));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let (_echo, good, _) = mesh.echo().await;
    sidecar.set(mesh.calling(&[good.inbound]));
    for _ in 0..10 {
        let answer = sidecar.client().await.unary("well?").await;
        assert_eq!(answer.unwrap(), "well?");
    }
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
