//! The flags every service has.

use std::{net::SocketAddr, time::Duration};

use http::Uri;
use weft_runtime::parse_duration;

/// Put it into a service's own arguments with `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
// A service that flattens these calls its own `Args` too, and clap names the group of flags after the type.
#[group(skip)]
pub struct Args {
    /// Where the service listens for gRPC. Port 0 takes a free port.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served. Port 0 takes a free port.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,
    /// SQLite (`sqlite:///path/file.db`, created if missing) or PostgreSQL (`postgres://...`). Default:
    /// a SQLite file named for the service in the current folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The sidecar's outbound listener, such as `http://127.0.0.1:15001`: every upstream is dialled
    /// there, with its own name as `:authority`. Default: upstreams are dialled by their names.
    #[arg(long, env = "OUTBOUND_PROXY")]
    pub outbound_proxy: Option<Uri>,
    /// How long open calls may finish after SIGTERM.
    #[arg(long, env = "DRAIN_GRACE", default_value = "10s", value_parser = parse_duration)]
    pub drain_grace: Duration,
}

impl Args {
    /// `DATABASE_URL`, or a SQLite file named for the service.
    pub fn database_url(&self, service: &str) -> String {
        self.database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{service}.db"))
    }
}
