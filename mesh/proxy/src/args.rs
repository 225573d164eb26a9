//! The flags of `weft proxy`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tracing::level_filters::LevelFilter;
use weft_identity::ControlUri;
use weft_model::dataplane::{Label, Locality};
use weft_runtime::parse_duration;

/// Runs the sidecar of one workload.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The workload's service, as the mesh file names it.
    #[arg(long, env = "WEFT_SERVICE")]
    pub service: String,
    /// The workload's name, unique within its service, such as `orders-1`.
    #[arg(long, env = "WEFT_INSTANCE")]
    pub instance: String,
    /// Where the workload serves gRPC without TLS.
    #[arg(long, env = "WEFT_APP")]
    pub app: SocketAddr,
    /// Where other sidecars connect with mutual TLS. Port 0 takes a free port.
    #[arg(long, env = "WEFT_INBOUND_LISTEN", default_value = "127.0.0.1:15006")]
    pub inbound_listen: SocketAddr,
    /// Where the workload sends its calls, without TLS: a loopback address.
    #[arg(long, env = "WEFT_OUTBOUND_LISTEN", default_value = "127.0.0.1:15001")]
    pub outbound_listen: SocketAddr,
    /// Where metrics, health and what the sidecar knows are shown; `/` lists it.
    #[arg(long, env = "WEFT_ADMIN_LISTEN", default_value = "127.0.0.1:15020")]
    pub admin_listen: SocketAddr,
    /// The address others reach the inbound listener at, if it differs from the one it is bound to.
    #[arg(long, env = "WEFT_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// The control plane, `https://HOST:PORT`.
    #[arg(long, env = "WEFT_CONTROL", default_value = "https://127.0.0.1:15012")]
    pub control: ControlUri,
    /// The roots of the trust domain, PEM.
    #[arg(long, env = "WEFT_TRUST_BUNDLE")]
    pub trust_bundle: PathBuf,
    /// A file with the one-time token that proves which workload this is.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Where the last good configuration is kept for a start without the control plane.
    #[arg(long, env = "WEFT_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Where the last certificate and its key are kept for a start without the control plane: a folder in
    /// memory (tmpfs), such as /dev/shm, as keys never touch a disk. Without it, such a start waits for the
    /// control plane.
    #[arg(long, env = "WEFT_IDENTITY_DIR")]
    pub identity_dir: Option<PathBuf>,
    /// How long a certificate is good for. It is renewed at half of that. A day at most.
    #[arg(long, env = "WEFT_CERTIFICATE_TTL", default_value = "1h", value_parser = parse_duration)]
    pub certificate_ttl: Duration,
    /// Where this workload runs, `REGION/ZONE/SUB_ZONE`, of which the end may be missing. Near endpoints
    /// are called first, and callers near to it call it first. Default: what the mesh file says.
    #[arg(long, env = "WEFT_LOCALITY", default_value = "")]
    pub locality: Locality,
    /// What subsets of the service select this workload by, such as `version=v2`; may be repeated. Others
    /// come from the mesh file.
    #[arg(
        long = "label",
        env = "WEFT_LABELS",
        value_name = "KEY=VALUE",
        value_delimiter = ','
    )]
    pub labels: Vec<Label>,
    /// This workload's share of calls under weighted round robin and ring hash, 1 to 1000.
    #[arg(long, env = "WEFT_WEIGHT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub weight: u32,
    /// Which calls leave a line in the log, unless `RUST_LOG` names `weft::access`.
    #[arg(long, env = "WEFT_ACCESS_LOG", default_value = "errors")]
    pub access_log: AccessLog,
    /// Written as JSON once the sidecar serves.
    #[arg(long, env = "WEFT_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// How long open calls may finish after SIGTERM.
    #[arg(long, env = "DRAIN_GRACE", default_value = "10s", value_parser = parse_duration)]
    pub drain_grace: Duration,
}

/// Which calls leave a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that the mesh refused or failed, at most 100 a second for one reason.
    #[default]
    Errors,
    /// All.
    All,
}

impl AccessLog {
    /// The level of the access log's target.
    pub(crate) fn level(self) -> (&'static str, LevelFilter) {
        let level = match self {
            Self::Off => LevelFilter::OFF,
            Self::Errors => LevelFilter::WARN,
            Self::All => LevelFilter::DEBUG,
        };
        ("weft::access", level)
    }
}
