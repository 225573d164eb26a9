//! A mesh of programs in other languages, written without knowing of it: `tests/peers/`.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::OnceCell};

use crate::{
    attacks::{
        Raw,
        frames::{block, frame, kind, stream},
    },
    memory,
    relay::Relay,
    shop::{root, until, weft},
    tools,
};

/// A mebibyte of zeros takes less than this when it is compressed, with all that is around it.
pub const GZIP_BYTES: u64 = 64 * 1024;

const START_DEADLINE: Duration = Duration::from_secs(60);

/// One client that has called one server, each behind its sidecar, and tried everything.
#[derive(Debug)]
pub struct Exchange {
    /// Who called: `python` or `node`.
    pub client: &'static str,
    /// Whom.
    pub server: &'static str,
    /// What the client saw, by case.
    pub seen: Value,
    /// The `google.rpc.Status` that calls were to fail with, in hexadecimal digits.
    pub details: String,
    /// Bytes of the compressed call on the client's connection, there and back.
    pub relayed: (u64, u64),
    /// Connections beside it that asked for 50 MiB each and read none.
    pub stalled: u64,
    /// The peak of both sidecars' memory after the exchange, less what it was before.
    pub grown: Vec<(String, u64)>,
}

/// Every client has called every server, once for all tests of a file. Nothing if a tool is missing.
///
/// # Panics
///
/// If the mesh does not start or a client does not end.
pub async fn exchanges() -> &'static [Exchange] {
    static EXCHANGES: OnceCell<Vec<Exchange>> = OnceCell::const_new();
    let Some([python, node]) = tools::require(["python", "node"]) else {
        return &[];
    };
    match EXCHANGES
        .get_or_try_init(|| exchange_all(&python, &node))
        .await
    {
        Ok(exchanges) => exchanges,
        Err(error) => panic!("the peers cannot be tried: {error:#}"),
    }
}

async fn exchange_all(python: &Path, node: &Path) -> Result<Vec<Exchange>> {
    let mesh = Mesh::start(python, node).await?;
    let mut exchanges = Vec::new();
    for client in ["python", "node"] {
        for server in ["python", "node"] {
            let program = if client == "python" { python } else { node };
            exchanges.push(mesh.exchange(program, client, server).await?);
        }
    }
    Ok(exchanges)
}

/// The running mesh. It ends with the test process, or when dropped.
struct Mesh {
    folder: TempDir,
    up: Child,
}

impl Mesh {
    async fn start(python: &Path, node: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-peers-").tempdir()?;
        let peers = root().join("tests/peers");
        let mut generate = Command::new(python);
        generate.args(["-m", "grpc_tools.protoc", "--proto_path"]);
        generate.arg(&peers).arg("peer.proto");
        for kind in ["python", "grpc_python"] {
            generate.arg(format!("--{kind}_out={}", folder.path().display()));
        }
        tools::run(&mut generate)?;
        let file = folder.path().join("mesh.yaml");
        let mesh = json!({
            "mesh": {"trustDomain": "peers.local", "namespace": "test"},
            "defaults": {"methodConfig": [{"name": [{}], "timeout": "60s"}]},
            "services": {
                "python": service(python, &peers.join("server.py"), folder.path()),
                "node": service(node, &peers.join("server.mjs"), folder.path()),
            },
            "edge": {"listen": "127.0.0.1:0"},
        });
        // JSON is YAML.
        std::fs::write(&file, mesh.to_string())?;
        let output = std::fs::File::create(folder.path().join("up.log"))?;
        let up = Command::new(weft()?)
            .args(["up", "--no-build", "--listen", "127.0.0.1:0", "--mesh"])
            .arg(&file)
            .arg("--data")
            .arg(folder.path().join("data"))
            .env("EXIT_ON_STDIN_CLOSE", "1")
            // Whatever is tried, certificates and connections are renewed meanwhile.
            .env("WEFT_CERTIFICATE_TTL", "10s")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut mesh = Self { folder, up };
        until("the peers' mesh is ready", START_DEADLINE, async || {
            if let Some(status) = mesh.up.try_wait()? {
                bail!("weft up ended with {status}:\n{}", mesh.output());
            }
            Ok((mesh.state()["ready"] == json!(true)).then_some(()))
        })
        .await
        .with_context(|| mesh.output())?;
        Ok(mesh)
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    fn state(&self) -> Value {
        std::fs::read(self.folder.path().join("data/state.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    fn sidecar(&self, name: &str) -> Result<Value> {
        let state = self.state();
        let mut processes = state["processes"].as_array().into_iter().flatten();
        processes
            .find(|process| process["name"] == json!(format!("{name}-1-sidecar")))
            .cloned()
            .with_context(|| format!("{name} has no sidecar"))
    }

    async fn exchange(
        &self,
        program: &Path,
        client: &'static str,
        server: &'static str,
    ) -> Result<Exchange> {
        let pid = |name| {
            let sidecar = self.sidecar(name)?;
            sidecar["pid"].as_u64().context("a sidecar without a pid")
        };
        let mut sidecars = vec![(client, pid(client)?)];
        if server != client {
            sidecars.push((server, pid(server)?));
        }
        let before: Vec<u64> = sidecars
            .iter()
            .map(|(_, pid)| memory::peak(*pid))
            .collect::<Result<_>>()?;
        let outbound: SocketAddr = self.sidecar(client)?["ports"]["outbound"]
            .as_str()
            .context("no outbound port")?
            .parse()?;
        // All that the client tries, it tries beside others that read nothing.
        let stalled = match (client, server) {
            ("python", "node") => stall(outbound, server).await?,
            _ => Vec::new(),
        };
        let relay = Relay::start(outbound).await?;
        let script = match client {
            "python" => "client.py",
            _ => "client.mjs",
        };
        let details = details();
        let mut command = Command::new(program);
        command
            .arg(root().join("tests/peers").join(script))
            .arg(outbound.to_string())
            .arg(relay.address().to_string())
            .arg(format!("{server}:7070"))
            .arg(&details)
            .env("PYTHONPATH", self.folder.path());
        let printed = tokio::task::spawn_blocking(move || tools::run(&mut command)).await??;
        let seen = serde_json::from_str(&printed)
            .with_context(|| format!("{client} printed no JSON: {printed}"))?;
        let mut grown = Vec::new();
        for ((name, pid), before) in sidecars.into_iter().zip(before) {
            let growth = memory::peak(pid)?.saturating_sub(before);
            grown.push((format!("the sidecar of {name}"), growth));
        }
        Ok(Exchange {
            client,
            server,
            seen,
            details,
            relayed: relay.bytes(),
            stalled: stalled.len() as u64,
            grown,
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        drop(self.up.stdin.take());
        let _ = self.up.wait();
    }
}

/// Callers that ask for 500 streams of a mebibyte each, and read none of it.
async fn stall(outbound: SocketAddr, server: &str) -> Result<Vec<Raw>> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let headers = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &format!("{server}:7070")),
        (":path", "/weft.tests.peers.v1.Peer/Produce"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    // Field 3, `number`: 16 replies of 64 KiB.
    let request = [0, 0, 0, 0, 2, 3 << 3, 16];
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let connection = TcpStream::connect(outbound).await?;
        let mut raw = Raw::over(Box::new(connection), &[(INITIAL_WINDOW_SIZE, 0)]).await?;
        for number in (0..50).map(stream) {
            let mut bytes = frame(kind::HEADERS, kind::END_HEADERS, number, &headers);
            bytes.extend(frame(kind::DATA, kind::END_STREAM, number, &request));
            raw.send(&bytes).await?;
        }
        stalled.push(raw);
    }
    Ok(stalled)
}

fn service(interpreter: &Path, script: &Path, generated: &Path) -> Value {
    let everyone = ["python", "node"].map(|name| format!("spiffe://peers.local/ns/test/sa/{name}"));
    json!({
        "port": 7070,
        "run": {
            "command": [interpreter, script],
            "env": {"PYTHONPATH": generated},
        },
        "authz": {"allow_rules": [{"name": "peers", "source": {"principals": everyone}}]},
    })
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

fn details() -> String {
    let status = ErrorStatus {
        code: tonic::Code::FailedPrecondition as i32,
        message: "100 % wöll\nis out".to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            // Field 1, `reason`.
            value: b"\x0a\x0bOUT_OF_YARN".to_vec(),
        }],
    };
    let bytes = status.encode_to_vec();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
