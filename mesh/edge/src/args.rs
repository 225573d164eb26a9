//! The flags of `weft edge`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use weft_identity::ControlUri;
use weft_runtime::parse_duration;

/// Runs the front of the mesh: REST, gRPC and the pages on one port.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The mesh file.
    #[arg(long, env = "WEFT_MESH", default_value = "mesh/mesh.yaml")]
    pub mesh: PathBuf,
    /// Where browsers and clients connect, instead of `edge.listen` in the mesh file. Port 0 takes a
    /// free port.
    #[arg(long, env = "WEFT_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Where `/metrics`, `/healthz` and `/readyz` are.
    #[arg(long, env = "WEFT_ADMIN_LISTEN", default_value = "127.0.0.1:15000")]
    pub admin_listen: SocketAddr,
    /// The control plane, `https://HOST:PORT`.
    #[arg(long, env = "WEFT_CONTROL", default_value = "https://127.0.0.1:15012")]
    pub control: ControlUri,
    /// How services are reached.
    #[arg(long, env = "WEFT_UPSTREAMS", value_enum, default_value_t)]
    pub upstreams: Upstreams,
    /// The roots of the trust domain, PEM. Needed with `--upstreams mesh`.
    #[arg(long, env = "WEFT_TRUST_BUNDLE")]
    pub trust_bundle: Option<PathBuf>,
    /// A file with the one-time token that proves that this is the edge. Needed with `--upstreams mesh`.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Where the last good configuration is kept for a start without the control plane. Needed with
    /// `--upstreams mesh`.
    #[arg(long, env = "WEFT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the last certificate and its key are kept for a start without the control plane: a folder in
    /// memory (tmpfs), such as /dev/shm, as keys never touch a disk. Without it, such a start waits for the
    /// control plane.
    #[arg(long, env = "WEFT_IDENTITY_DIR")]
    pub identity_dir: Option<PathBuf>,
    /// Written as JSON once the edge serves.
    #[arg(long, env = "WEFT_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// Connections open at once; more wait to be accepted.
    #[arg(long, env = "WEFT_MAX_CONNECTIONS", default_value_t = 4096)]
    pub max_connections: usize,
    /// How long open calls may finish after SIGTERM.
    #[arg(long, env = "DRAIN_GRACE", default_value = "10s", value_parser = parse_duration)]
    pub drain_grace: Duration,
}

/// How the edge reaches services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Upstreams {
    /// As a workload of our mesh: endpoints from the control plane, mutual TLS, retries, deadlines.
    #[default]
    Mesh,
    /// By name in the clear, for the sidecar of another mesh to take.
    Dns,
}
