//! The control plane: what the mesh file says and which workloads are there, told to every data plane.
//!
//! One TLS port serves three APIs: `istio.v1.auth.IstioCertificateService` ([`certificates`]), where a
//! workload gets its certificate by a one-time token or by its current certificate;
//! `weft.registry.v1.RegistryService` ([`registry`]), where it says that it is there; and ADS
//! ([`planner`]), where it learns whom it may call, how, and who may call it. The two latter know
//! their callers by certificate only. The admin port shows all of it ([`status`]).
//!
//! Nothing a data plane needs at run time waits for this process: it may be killed at any moment and
//! goes on where it was when it is started again. What it must remember is in its state folder, which
//! only its owner can read:
//!
//! - `ca/`: the authority's keys and certificates. The one part that cannot be made again by itself.
//! - `root.pem`: what workloads trust; a copy for them.
//! - `token.key`, `used-tokens`: what one-time tokens are signed with, and which ones are spent.
//! - `registry.json`: the workloads that were there, so that a restart does not begin without endpoints.
//! - `mesh.last-good.yaml`: the mesh file in use, for a start while somebody is breaking the real one.
//!
//! Start reading at [`start`].

mod certificates;
mod listener;
mod mesh_file;
mod metrics;
mod nodes;
mod page;
mod peer;
mod planner;
mod registry;
mod registry_service;
mod renewal;
mod start;
mod status;

use std::{net::SocketAddr, path::PathBuf};

pub use start::{Running, start};

/// How the control plane runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The mesh file. Changes are taken over while running; a broken one is refused.
    #[arg(
        long,
        env = "WEFT_MESH",
        value_name = "FILE",
        default_value = "mesh/mesh.yaml"
    )]
    pub mesh: PathBuf,
    /// Where ADS, certificates and the registry listen, over TLS. Port 0 takes a free port.
    #[arg(
        long,
        env = "WEFT_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:15012"
    )]
    pub listen: SocketAddr,
    /// Where status, metrics and health listen. Port 0 takes a free port.
    #[arg(
        long,
        env = "WEFT_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9900"
    )]
    pub admin_listen: SocketAddr,
    /// Where the authority's keys, the token key and the registry are kept. Created if missing.
    #[arg(
        long,
        env = "WEFT_STATE_DIR",
        value_name = "DIR",
        default_value = ".weft/control"
    )]
    pub state_dir: PathBuf,
    /// Write the addresses to this file as JSON once everything listens.
    #[arg(long, env = "WEFT_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Runs the control plane until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// If it cannot start: a port is taken, a file unusable, the mesh file broken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = weft_runtime::shutdown::token();
    start(args, shutdown).await?.wait().await
}
