//! The client against the server, over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Extensions, Status,
    transport::{Endpoint as Upstream, Server},
};
use weft_model::dataplane::{
    AuthzRule, Endpoint, Inbound, MethodMatch, MethodRule, Snapshot, Target,
};
use weft_xds::{
    client::{AdsClient, AdsOptions},
    resources::{NodeResources, ResourceType, SharedResources},
    server::{AdsServer, Event, Nodes, StreamId},
};

const LONG: Duration = Duration::from_secs(10);

struct World {
    resources: watch::Sender<Arc<NodeResources>>,
    events: Mutex<Vec<Event>>,
}

impl World {
    fn new(targets: &[Target], inbound: Option<&Inbound>) -> Arc<Self> {
        let resources = SharedResources::new(targets).for_node(inbound);
        Arc::new(Self {
            resources: watch::Sender::new(Arc::new(resources)),
            events: Mutex::default(),
        })
    }

    fn set(&self, targets: &[Target], inbound: Option<&Inbound>) {
        let resources = SharedResources::new(targets).for_node(inbound);
        self.resources.send_replace(Arc::new(resources));
    }

    fn nacks(&self) -> Vec<String> {
        let events = self.events.lock();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Nacked { detail, .. } => Some(detail.clone()),
                _ => None,
            })
            .collect()
    }
}

struct Shared(Arc<World>);

impl Nodes for Shared {
    fn authenticate(&self, _extensions: &Extensions) -> Result<String, Status> {
        Ok("spiffe://td/ns/shop/sa/orders".to_owned())
    }

    fn resources(&self, _identity: &str) -> Result<watch::Receiver<Arc<NodeResources>>, Status> {
        Ok(self.0.resources.subscribe())
    }

    fn observe(&self, _stream: StreamId, event: Event) {
        self.0.events.lock().push(event);
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(world: &Arc<World>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ads = AdsServer::new(
            Arc::new(Shared(Arc::clone(world))),
            stop.clone(),
            TaskTracker::new(),
        );
        let stopped = stop.clone().cancelled_owned();
        let serving = Server::builder()
            .add_service(ads.into_service())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            stop,
            server,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(LONG, self.server).await.unwrap().unwrap();
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn client(address: SocketAddr, state_dir: Option<&Path>) -> AdsClient {
    let channel = Upstream::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    let options = AdsOptions {
        service: Some("orders".to_owned()),
        node_id: "orders-1".to_owned(),
        state_dir: state_dir.map(Path::to_owned),
    };
    AdsClient::new(channel, options)
}

type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

async fn wait(snapshots: &mut Snapshots, what: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let found = snapshots.wait_for(|now| now.as_deref().is_some_and(&what));
    timeout(LONG, found)
        .await
        .expect("not in time")
        .unwrap()
        .clone()
        .unwrap()
}

fn target(service: &str, ports: &[u16]) -> Target {
    Target {
        authority: format!("{service}:7070"),
        service: service.to_owned(),
        identity: format!("spiffe://td/ns/shop/sa/{service}"),
        methods: vec![MethodRule {
            matches: MethodMatch::default(),
            timeout: Some(Duration::from_secs(5)),
            ..MethodRule::default()
        }],
        endpoints: ports
            .iter()
            .map(|port| {
                let address = SocketAddr::from(([127, 0, 0, 1], *port));
                Endpoint::new(address, format!("{service}-{port}"))
            })
            .collect(),
        ..Target::default()
    }
}

fn rules(name: &str) -> Inbound {
    Inbound {
        service: "orders".to_owned(),
        deny_rules: vec![],
        allow_rules: vec![AuthzRule {
            name: name.to_owned(),
            ..AuthzRule::default()
        }],
        ..Inbound::default()
    }
}

fn expected(targets: &[Target], inbound: Option<Inbound>) -> Snapshot {
    let targets: BTreeMap<_, _> = targets
        .iter()
        .map(|target| (target.authority.clone(), target.clone()))
        .collect();
    Snapshot { targets, inbound }
}

#[tokio::test]
async fn first_snapshot_is_whole_and_changes_follow() {
    let targets = [target("orders", &[1]), target("payments", &[2, 3])];
    let world = World::new(&targets, Some(&rules("a")));
    let server = Running::start(&world, any_port()).await;
    let client = client(server.address, None);
    let mut snapshots = client.snapshots();
    let stop = CancellationToken::new();
    let running = tokio::spawn(client.run(stop.clone()));

    let first = wait(&mut snapshots, |_| true).await;
    assert_eq!(*first, expected(&targets, Some(rules("a"))));

    // One endpoint comes, one target goes, one comes, the rules change: all at once.
    let targets = [target("orders", &[1, 9]), target("carts", &[4])];
    world.set(&targets, Some(&rules("b")));
    let whole = expected(&targets, Some(rules("b")));
    wait(&mut snapshots, |now| *now == whole).await;
    assert_eq!(world.nacks(), Vec::<String>::new());
    let acked = |kind| {
        let events = world.events.lock();
        events
            .iter()
            .any(|event| matches!(event, Event::Acked { kind: k, .. } if *k == kind))
    };
    assert!(ResourceType::ALL.into_iter().all(acked));

    stop.cancel();
    timeout(LONG, running).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn broken_resource_is_refused_and_the_old_one_stays() {
    let good = [target("orders", &[1]), target("payments", &[2])];
    let world = World::new(&good, None);
    let server = Running::start(&world, any_port()).await;
    let client = client(server.address, None);
    let mut snapshots = client.snapshots();
    let status = client.status();
    let stop = CancellationToken::new();
    tokio::spawn(client.run(stop.clone()));
    wait(&mut snapshots, |_| true).await;

    // A route configuration without a route leads nowhere.
    let mut broken = good.clone();
    broken[1].methods.clear();
    broken[0].endpoints = target("orders", &[7]).endpoints;
    world.set(&broken, None);
    let now = wait(&mut snapshots, |now| {
        now.targets["orders:7070"].endpoints == broken[0].endpoints
    })
    .await;
    assert_eq!(now.targets["payments:7070"], good[1]);
    let deadline = tokio::time::Instant::now() + LONG;
    while world.nacks().is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        world.nacks(),
        ["payments:7070: virtual_hosts[0].routes: required"]
    );
    assert!(status.borrow().refused["RDS"].contains("payments:7070"));

    // Mended, it is taken.
    let mended = [good[0].clone(), target("payments", &[5])];
    world.set(&mended, None);
    wait(&mut snapshots, |now| *now == expected(&mended, None)).await;
    stop.cancel();
    server.stop().await;
}

#[tokio::test]
async fn client_comes_back_to_a_restarted_server() {
    let world = World::new(&[target("orders", &[1])], None);
    let server = Running::start(&world, any_port()).await;
    let address = server.address;
    let client = client(address, None);
    let mut snapshots = client.snapshots();
    let stop = CancellationToken::new();
    tokio::spawn(client.run(stop.clone()));
    wait(&mut snapshots, |_| true).await;

    server.stop().await;
    assert!(snapshots.borrow().is_some());
    let changed = [target("orders", &[2]), target("carts", &[3])];
    let world = World::new(&changed, None);
    let server = Running::start(&world, address).await;
    wait(&mut snapshots, |now| *now == expected(&changed, None)).await;
    stop.cancel();
    server.stop().await;
}

#[tokio::test]
async fn last_good_configuration_serves_a_start_without_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let targets = [target("orders", &[1]), target("payments", &[2])];
    let world = World::new(&targets, Some(&rules("a")));
    let server = Running::start(&world, any_port()).await;
    let address = server.address;
    let first = client(address, Some(dir.path()));
    let mut snapshots = first.snapshots();
    let stop = CancellationToken::new();
    let running = tokio::spawn(first.run(stop.clone()));
    wait(&mut snapshots, |_| true).await;
    stop.cancel();
    timeout(LONG, running).await.unwrap().unwrap();
    server.stop().await;

    let second = client(address, Some(dir.path()));
    let snapshots = second.snapshots();
    let known = snapshots.borrow().clone().unwrap();
    assert_eq!(*known, expected(&targets, Some(rules("a"))));

    // A damaged file is no configuration, and no reason to stop.
    std::fs::write(
        dir.path().join("last-good.binpb"),
        b"\xff\xff\xff\xff\xff damaged",
    )
    .unwrap();
    let third = client(address, Some(dir.path()));
    assert!(third.snapshots().borrow().is_none());
}
