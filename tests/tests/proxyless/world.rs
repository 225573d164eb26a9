//! A control plane with the shop's mesh file, orders in one of two ways, and the services it needs.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use service_kit::{CancellationToken, Db, Server, Upstream};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use weft_channel::{ControlOptions, Mesh};
use weft_identity::token;
use weft_model::dataplane::Locality;
use weft_runtime::metrics::Metrics;

const LONG: Duration = Duration::from_secs(60);

/// What stands between orders and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Sidecar,
    InProcess,
}

pub struct World {
    /// Of the mesh in the process of orders.
    pub metrics: Metrics,
    dir: TempDir,
    control: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    pub async fn start(how: How) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let control = weft_control::Args {
            mesh: concat!(env!("CARGO_MANIFEST_DIR"), "/../mesh/mesh.yaml").into(),
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            state_dir: dir.path().join("control"),
            ready_file: None,
        };
        let running = weft_control::start(control, stop.clone()).await.unwrap();
        let mut world = Self {
            metrics: Metrics::new(),
            dir,
            control: running.listen,
            stop,
            tasks: vec![tokio::spawn(running.wait())],
        };
        world.others().await;
        match how {
            How::Sidecar => world.orders_behind_a_sidecar().await,
            How::InProcess => {
                let metrics = world.metrics.clone();
                let mesh = world.join("orders", &metrics).await;
                let server = world.orders(|name| over(&mesh, name)).await;
                world.serve(mesh, server).await;
            }
        }
        world
    }

    /// Everybody that orders calls, without sidecars.
    async fn others(&mut self) {
        let db = self.database("catalogue", &catalogue::MIGRATIONS).await;
        let server = catalogue::server(db).await.unwrap();
        self.serve_alone("catalogue", server).await;
        let db = self.database("inventory", &inventory::MIGRATIONS).await;
        let server = inventory::server(db).await.unwrap();
        self.serve_alone("inventory", server).await;
        let db = self.database("payments", &payments::MIGRATIONS).await;
        let server = payments::server(db).await.unwrap();
        self.serve_alone("payments", server).await;
        let db = self.database("carts", &carts::MIGRATIONS).await;
        let mesh = self.join("carts", &Metrics::new()).await;
        let server = carts::server(db, over(&mesh, "catalogue:7070"));
        self.serve(mesh, server).await;
    }

    async fn serve_alone(&mut self, service: &str, server: Server) {
        let mesh = self.join(service, &Metrics::new()).await;
        self.serve(mesh, server).await;
    }

    async fn orders(&self, upstream: impl Fn(&str) -> Upstream) -> Server {
        let db = self.database("orders", &orders::MIGRATIONS).await;
        let upstreams = orders::peers::Upstreams {
            catalogue: upstream("catalogue:7070"),
            inventory: upstream("inventory:7070"),
            payments: upstream("payments:7070"),
            carts: upstream("carts:7070"),
        };
        orders::server(db, upstreams, orders::executor::Settings::default())
    }

    async fn orders_behind_a_sidecar(&mut self) {
        let listener = bind().await;
        let ready = self.dir.path().join("ready.json");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let args = weft_proxy::Args {
            service: "orders".to_owned(),
            instance: "orders-1".to_owned(),
            app: listener.local_addr().unwrap(),
            inbound_listen: any,
            outbound_listen: any,
            admin_listen: any,
            advertise: None,
            control: self.options("orders", &self.metrics).control,
            trust_bundle: self.state("root.pem"),
            token_file: self.token("orders"),
            state_dir: self.dir.path().join("sidecar"),
            identity_dir: None,
            certificate_ttl: Duration::from_secs(3600),
            locality: Locality::default(),
            labels: Vec::new(),
            weight: 1,
            access_log: weft_proxy::AccessLog::Errors,
            ready_file: Some(ready.clone()),
            drain_grace: Duration::from_secs(5),
        };
        let serving = weft_proxy::serve(args, self.stop.clone());
        self.tasks.push(tokio::spawn(serving));
        let facts = wait_for(async || std::fs::read(&ready).ok()).await;
        let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
        let outbound = format!("http://{}", facts["outbound"].as_str().unwrap());
        let outbound = outbound.parse().unwrap();
        let upstream = |name: &str| Upstream::new(name, Some(&outbound)).unwrap();
        let server = self.orders(upstream).await;
        let serving = server.serve(listener, self.stop.clone());
        self.tasks.push(tokio::spawn(serving));
    }

    /// Serves a service with the mesh in its own process, and tells the registry.
    async fn serve(&mut self, mesh: Mesh, server: Server) {
        let listener = bind().await;
        let address = listener.local_addr().unwrap();
        let serving = server.readiness().subscribe();
        let guard = mesh.server().unwrap();
        let server = server.with_connections(move |stream, app, closing| {
            let guard = guard.clone();
            async move { guard.connection(stream, app, closing).await }
        });
        let stop = self.stop.clone();
        self.tasks
            .push(tokio::spawn(server.serve(listener, stop.clone())));
        self.tasks.push(tokio::spawn(async move {
            mesh.keep_registered(address, serving, stop).await;
            Ok(())
        }));
    }

    /// A mesh for callers from outside, once everybody is there.
    pub async fn edge(&self) -> Mesh {
        let mut options = self.options("edge", &Metrics::new());
        options.service = None;
        let mesh = Mesh::from_control(options).await.unwrap();
        for service in ["catalogue", "inventory", "payments", "carts", "orders"] {
            let authority = format!("{service}:7070");
            wait_for(async || mesh.channel().has_endpoints(&authority).then_some(())).await;
        }
        mesh
    }

    /// A mesh for a service that may not call orders.
    pub async fn stranger(&self) -> Mesh {
        let mesh = self.join("carts", &Metrics::new()).await;
        wait_for(async || mesh.channel().has_endpoints("orders:7070").then_some(())).await;
        mesh
    }

    async fn join(&self, service: &str, metrics: &Metrics) -> Mesh {
        let joined = Mesh::from_control(self.options(service, metrics));
        timeout(LONG, joined).await.unwrap().unwrap()
    }

    fn options(&self, account: &str, metrics: &Metrics) -> ControlOptions {
        ControlOptions {
            service: Some(account.to_owned()),
            instance: format!("{account}-1"),
            control: format!("https://{}", self.control).parse().unwrap(),
            trust_bundle: self.state("root.pem"),
            token_file: self.token(account),
            state_dir: self.dir.path().join(format!("state-{account}")),
            locality: Locality::default(),
            labels: BTreeMap::new(),
            weight: 1,
            metrics: metrics.clone(),
        }
    }

    fn state(&self, file: &str) -> PathBuf {
        self.dir.path().join("control").join(file)
    }

    fn token(&self, account: &str) -> PathBuf {
        let key = std::fs::read(self.state("token.key")).unwrap();
        let token = token::mint(&key, account, LONG).unwrap();
        let file = self.dir.path().join(format!("token-{account}"));
        std::fs::write(&file, token).unwrap();
        file
    }

    async fn database(&self, service: &str, migrations: &service_kit::db::Migrator) -> Db {
        let file = self.dir.path().join(format!("{service}.db"));
        let url = format!("sqlite://{}", file.display());
        Db::open(&url, migrations).await.unwrap()
    }

    /// Drains everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            timeout(LONG, task).await.unwrap().unwrap().unwrap();
        }
    }
}

fn over(mesh: &Mesh, name: &str) -> Upstream {
    Upstream::over(name, mesh.connect(name))
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Asks until there is an answer, for at most a minute.
async fn wait_for<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, answered).await.expect("it never came true")
}
