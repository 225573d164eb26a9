//! Our sidecars, as `weft up` starts them: a control plane, and beside the caller and the callee a
//! sidecar each, with a one-time token. The mesh file is the shop's own; `orders` calls `catalogue`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use weft_identity::token;

use super::Place;
use crate::process::{Process, free_addresses};

const TOKEN_LIFE: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(20);

/// The control plane. It is not on the path of calls and not on the core of the proxies.
#[derive(Debug)]
pub struct Control {
    /// The binary `weft`.
    pub program: PathBuf,
    address: SocketAddr,
    key: Vec<u8>,
    root: PathBuf,
    _process: Process,
}

/// A pair of sidecars that was just started.
#[derive(Debug)]
pub struct Pair {
    /// Where the caller's sidecar takes calls.
    pub address: SocketAddr,
    /// Where the callee's takes them.
    pub inbound: SocketAddr,
    /// Written by the caller's sidecar once it serves.
    pub ready_file: PathBuf,
    /// The caller's, the callee's.
    pub processes: Vec<Process>,
}

impl Control {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn start(
        program: PathBuf,
        mesh: &Path,
        core: usize,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "there is no {}: run cargo build --release",
            program.display()
        );
        let state = folder.join("control");
        fs::create_dir_all(&state)?;
        let key = token::load_or_create_key(&state.join("token.key"))?;
        let [address, admin] = free_addresses()?;
        let ready = state.join("ready.json");
        let args = [
            "control".to_owned(),
            format!("--mesh={}", mesh.display()),
            format!("--listen={address}"),
            format!("--admin-listen={admin}"),
            format!("--state-dir={}", state.display()),
            format!("--ready-file={}", ready.display()),
        ];
        let mut process = Process::start("weft-control", core, &program, &args, &[], folder)?;
        let since = Instant::now();
        while !ready.exists() {
            process.check()?;
            ensure!(
                since.elapsed() < START_LIMIT,
                "the control plane does not get ready:\n{}",
                process.last_words()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self {
            program,
            address,
            key,
            root: state.join("root.pem"),
            _process: process,
        })
    }

    /// Starts both sidecars.
    ///
    /// # Errors
    ///
    /// If one cannot be started.
    pub(super) fn pair(&self, place: &Place) -> anyhow::Result<Pair> {
        let [address, inbound, unused, other] = free_addresses()?;
        let caller = place.folder.join("orders-1");
        let ready_file = caller.join("ready.json");
        let processes = vec![
            self.sidecar(place, "orders", unused, address)?,
            self.sidecar(place, "catalogue", inbound, other)?,
        ];
        Ok(Pair {
            address,
            inbound,
            ready_file,
            processes,
        })
    }

    fn sidecar(
        &self,
        place: &Place,
        service: &str,
        inbound: SocketAddr,
        outbound: SocketAddr,
    ) -> anyhow::Result<Process> {
        let instance = format!("{service}-1");
        let folder = place.folder.join(&instance);
        // Each start is the first: no certificate, no kept configuration.
        if folder.exists() {
            fs::remove_dir_all(&folder).context("the folder of an earlier start")?;
        }
        fs::create_dir_all(&folder)?;
        let token_file = folder.join("token");
        fs::write(&token_file, token::mint(&self.key, service, TOKEN_LIFE)?)?;
        let [admin] = free_addresses()?;
        let args = [
            "proxy".to_owned(),
            format!("--service={service}"),
            format!("--instance={instance}"),
            format!("--app={}", place.app),
            format!("--inbound-listen={inbound}"),
            format!("--outbound-listen={outbound}"),
            format!("--admin-listen={admin}"),
            format!("--control=https://{}", self.address),
            format!("--trust-bundle={}", self.root.display()),
            format!("--token-file={}", token_file.display()),
            format!("--state-dir={}", folder.join("state").display()),
            format!("--ready-file={}", folder.join("ready.json").display()),
            "--drain-grace=1s".to_owned(),
        ];
        let name = format!("weft-{service}");
        Process::start(&name, place.core, &self.program, &args, &[], &place.folder)
    }
}
