//! The processes: `weft control`, and `weft proxy` twice.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::{http::send, memory, shop::weft, until};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use weft_identity::token;

use crate::workload::{self, Client};

pub const LONG: Duration = Duration::from_secs(30);
const NOWHERE: &str = "127.0.0.1:0";

/// A process that ends with the test.
pub struct Process {
    child: Child,
    /// What it wrote when it was ready.
    facts: Value,
}

impl Process {
    pub fn pid(&self) -> u64 {
        self.child.id().into()
    }

    pub fn address(&self, name: &str) -> SocketAddr {
        self.facts[name].as_str().unwrap().parse().unwrap()
    }

    /// The most memory it ever had.
    pub fn peak(&self) -> u64 {
        memory::peak(self.pid()).unwrap()
    }

    /// What the sidecar measures now, on one side.
    pub async fn gauge(&self, name: &str, side: &str) -> f64 {
        let admin = self.address("admin");
        let page = send(admin, Method::GET, "/metrics", None, None, "").await;
        let page = page.unwrap().text();
        let is_meant = |line: &&str| line.starts_with(name) && line.contains(side);
        let line = page.lines().find(is_meant).expect("it is measured");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &self.pid().to_string()]);
        assert!(kill.status().unwrap().success(), "{signal}");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct World {
    dir: TempDir,
    ttl: Duration,
    app: SocketAddr,
    pub control: Process,
    pub caller: Process,
    pub server: Process,
}

impl World {
    /// Starts everything, and waits until the caller reaches the workload. Certificates are good for `ttl`.
    pub async fn start(ttl: Duration) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("weft-sidecars-")
            .tempdir_in(in_memory().unwrap_or_else(std::env::temp_dir))
            .unwrap();
        let app = workload::serve().await;
        fs::write(dir.path().join("mesh.yaml"), mesh(json!([])).to_string()).unwrap();
        let control = control(&dir, NOWHERE).await;
        let sidecar = async |name, app: SocketAddr| {
            let any = [NOWHERE.parse().unwrap(); 2];
            sidecar(&dir, name, app, control.address("listen"), ttl, any).await
        };
        let server = sidecar("server", app).await;
        let caller = sidecar("caller", app).await;
        let world = Self {
            ttl,
            app,
            control,
            caller,
            server,
            dir,
        };
        let mut client = world.client().await;
        until("the workload is reached", LONG, async || {
            Ok(client.echo("hello".into()).await.ok())
        })
        .await
        .unwrap();
        world
    }

    /// A client as the caller would have it.
    pub async fn client(&self) -> Client {
        Client::connect(self.caller.address("outbound")).await
    }

    /// Replaces the mesh file.
    pub fn write(&self, text: &str) {
        // As editors do: whoever reads it sees the old or the new one.
        let new = self.dir.path().join("mesh.yaml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.path().join("mesh.yaml")).unwrap();
    }

    /// Starts the control plane again, where it was.
    pub async fn start_control(&mut self) {
        let listen = self.control.address("listen").to_string();
        self.control = control(&self.dir, &listen).await;
    }

    /// Kills a sidecar and starts it again, where it was.
    pub async fn start_cold(&mut self, name: &'static str) {
        let process = match name {
            "caller" => &mut self.caller,
            _ => &mut self.server,
        };
        process.kill();
        let addresses = [process.address("listen"), process.address("outbound")];
        let control = self.control.address("listen");
        *process = sidecar(&self.dir, name, self.app, control, self.ttl, addresses).await;
    }

    /// Waits until a sidecar has kept a configuration with `text` for its next start.
    pub async fn saved(&self, name: &str, text: &str) {
        let file = self
            .dir
            .path()
            .join(format!("{name}-state/last-good.binpb"));
        until("the configuration is kept", LONG, async || {
            let kept = fs::read(&file).unwrap_or_default();
            let has_text = kept.windows(text.len()).any(|part| part == text.as_bytes());
            Ok(has_text.then_some(()))
        })
        .await
        .unwrap();
    }

    /// What a process has written since the start of the test.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap()
    }
}

/// The mesh file: `caller` may call `server`, by `routes`.
pub fn mesh(routes: Value) -> Value {
    json!({
        "mesh": {"trustDomain": "sidecars.local", "namespace": "test"},
        "defaults": {"methodConfig": [{"name": [{}], "timeout": "60s"}]},
        "services": {
            "caller": {"port": 7070},
            "server": {
                "port": 7070,
                "authz": {"allow_rules": [{
                    "name": "caller",
                    "source": {"principals": ["spiffe://sidecars.local/ns/test/sa/caller"]},
                }]},
            },
        },
        "routes": routes,
        "edge": {"listen": NOWHERE},
    })
}

async fn control(dir: &TempDir, listen: &str) -> Process {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let flags = [
        ("mesh", path("mesh.yaml")),
        ("listen", listen.to_owned()),
        ("admin-listen", NOWHERE.to_owned()),
        ("state-dir", path("control")),
    ];
    start(dir, "control", "control", &flags).await
}

async fn sidecar(
    dir: &TempDir,
    name: &str,
    app: SocketAddr,
    control: SocketAddr,
    ttl: Duration,
    [inbound, outbound]: [SocketAddr; 2],
) -> Process {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let key = fs::read(dir.path().join("control/token.key")).unwrap();
    let minted = token::mint(&key, name, LONG).unwrap();
    fs::write(path(&format!("{name}.token")), minted).unwrap();
    let mut flags = vec![
        ("service", name.to_owned()),
        ("instance", format!("{name}-1")),
        ("app", app.to_string()),
        ("inbound-listen", inbound.to_string()),
        ("outbound-listen", outbound.to_string()),
        ("admin-listen", NOWHERE.to_owned()),
        ("control", format!("https://{control}")),
        ("trust-bundle", path("control/root.pem")),
        ("token-file", path(&format!("{name}.token"))),
        ("state-dir", path(&format!("{name}-state"))),
        ("certificate-ttl", format!("{}s", ttl.as_secs())),
    ];
    if in_memory().is_some() {
        let identity = path(&format!("{name}-identity"));
        fs::create_dir_all(&identity).unwrap();
        flags.push(("identity-dir", identity));
    }
    start(dir, "proxy", name, &flags).await
}

/// Where files never touch a disk: sidecars keep their keys nowhere else.
fn in_memory() -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| "/dev/shm".into())
}

async fn start(dir: &TempDir, command: &str, name: &str, flags: &[(&str, String)]) -> Process {
    let ready: PathBuf = dir.path().join(format!("{name}.ready"));
    let _ = fs::remove_file(&ready);
    let log = dir.path().join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut child = Command::new(weft().unwrap())
        .arg(command)
        .args(
            flags
                .iter()
                .flat_map(|(name, value)| [format!("--{name}"), value.clone()]),
        )
        .arg("--ready-file")
        .arg(&ready)
        .env("EXIT_ON_STDIN_CLOSE", "1")
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let facts = until(name, LONG, async || {
        assert!(child.try_wait()?.is_none(), "{name} ended");
        let facts = fs::read(&ready).ok();
        Ok(facts.and_then(|facts| serde_json::from_slice(&facts).ok()))
    })
    .await
    .unwrap();
    Process { child, facts }
}
