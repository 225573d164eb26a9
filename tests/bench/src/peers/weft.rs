//! Our sidecars, as `weft up` starts them: a control plane, and beside the caller and the callee a
//! sidecar each, with a one-time token. The mesh file is the shop's own; `orders` calls `catalogue`. For the
//! hop, `catalogue` is outside the mesh: called in cleartext, by the same policies.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use weft_identity::token;

use super::Place;
use crate::process::{Process, free_addresses};

const TOKEN_LIFE: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(20);
/// What a service outside the mesh cannot have.
const OF_A_WORKLOAD: [&str; 6] = [
    "run",
    "database",
    "authz",
    "criticality",
    "rateLimits",
    "adaptiveConcurrency",
];

/// The control plane. It is not on the path of calls and not on the core of the proxies.
#[derive(Debug)]
pub struct Control {
    /// The binary `weft`.
    pub program: PathBuf,
    address: SocketAddr,
    key: Vec<u8>,
    root: PathBuf,
    /// For the sidecars' state and logs.
    folder: PathBuf,
    _process: Process,
}

/// Sidecars that were just started.
#[derive(Debug)]
pub struct Started {
    /// Where the caller's sidecar takes calls.
    pub address: SocketAddr,
    /// Where the callee's takes them, if there is one.
    pub inbound: Option<SocketAddr>,
    /// Written by the caller's sidecar once it serves.
    pub ready_file: PathBuf,
    /// The caller's, the callee's.
    pub processes: Vec<Process>,
}

impl Control {
    /// Starts it with what `mesh_file` makes of `shop`, the shop's mesh file, and waits until it serves.
    /// `outside`: where `catalogue` is, if it is outside the mesh.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn start(
        program: PathBuf,
        shop: &Path,
        outside: Option<SocketAddr>,
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
        let mesh = folder.join("mesh.json");
        fs::write(&mesh, mesh_file(shop, outside)?.to_string())?;
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
            folder: folder.to_owned(),
            _process: process,
        })
    }

    /// Starts the caller's sidecar alone.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(super) fn hop(&self, place: &Place) -> anyhow::Result<Started> {
        let [address, unused] = free_addresses()?;
        let caller = self.sidecar(place, "orders", unused, address)?;
        Ok(Started {
            address,
            inbound: None,
            ready_file: self.folder.join("orders-1/ready.json"),
            processes: vec![caller],
        })
    }

    /// Starts both sidecars.
    ///
    /// # Errors
    ///
    /// If one cannot be started.
    pub(super) fn pair(&self, place: &Place) -> anyhow::Result<Started> {
        let [inbound, other] = free_addresses()?;
        let mut started = self.hop(place)?;
        started.inbound = Some(inbound);
        let callee = self.sidecar(place, "catalogue", inbound, other)?;
        started.processes.push(callee);
        Ok(started)
    }

    fn sidecar(
        &self,
        place: &Place,
        service: &str,
        inbound: SocketAddr,
        outbound: SocketAddr,
    ) -> anyhow::Result<Process> {
        let instance = format!("{service}-1");
        let folder = self.folder.join(&instance);
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
        Process::start(&name, place.core, &self.program, &args, &[], &self.folder)
    }
}

fn mesh_file(shop: &Path, outside: Option<SocketAddr>) -> anyhow::Result<Value> {
    let text = fs::read_to_string(shop).with_context(|| format!("{}", shop.display()))?;
    let mut mesh: Value = serde_saphyr::from_str(&text)?;
    // Its path is relative to the file, and nobody asks for pages here.
    let edge = mesh["edge"].as_object_mut();
    edge.context("the mesh file has no `edge`")?.remove("pages");
    let catalogue = mesh["services"]["catalogue"].as_object_mut();
    let catalogue = catalogue.context("the mesh file has no `catalogue`")?;
    // The shop's limits, like the defaults of others, refuse calls of the larger loads.
    let limits = json!({ "maxRequests": 10_000, "maxPendingRequests": 10_000 });
    catalogue.insert("circuitBreakers".to_owned(), limits);
    if let Some(address) = outside {
        for key in OF_A_WORKLOAD {
            catalogue.remove(key);
        }
        catalogue.insert("endpoints".to_owned(), json!([{ "address": address }]));
        catalogue.insert("tls".to_owned(), json!({ "mode": "DISABLE" }));
    }
    Ok(mesh)
}
