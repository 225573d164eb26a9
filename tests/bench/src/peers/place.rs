//! Starting targets.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    Control, Layout, Peer, Side, Stand, Target, copy, envoy, haproxy, hyper, nghttpx, nginx,
};
use crate::{
    call,
    process::{self, Process},
};

/// After this a proxy that carries no call has failed to start.
const START_LIMIT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(1);

/// Everything proxies need.
#[derive(Debug)]
pub struct Place {
    /// The echo server.
    pub app: SocketAddr,
    /// The core of the proxies.
    pub core: usize,
    /// Configurations, logs, state.
    pub folder: PathBuf,
    /// The folder with the certificates.
    pub certificates: PathBuf,
    /// Where `tests/bench/install` puts peers.
    pub tools: PathBuf,
    /// This binary.
    pub bench: PathBuf,
    /// The control plane of our pair; without it that is not measured.
    pub control: Option<Control>,
    /// The control plane of our hop, to which the echo server is outside the mesh.
    pub hop_control: Option<Control>,
}

/// A target that carries calls.
#[derive(Debug)]
pub struct Running {
    /// What it is.
    pub target: Target,
    /// Where the client connects.
    pub address: SocketAddr,
    /// Its proxies.
    pub processes: Vec<Process>,
    /// From the start of the processes to the first call answered.
    pub started_in: Duration,
    /// From the start to the proxy saying that it is ready, if it does.
    pub ready_in: Option<Duration>,
}

impl Place {
    /// The program of a peer.
    ///
    /// # Errors
    ///
    /// If it is not installed: what to do.
    pub fn program(&self, peer: Peer) -> anyhow::Result<PathBuf> {
        let debian = self.tools.join("debian/usr/sbin");
        let (name, installed) = match peer {
            Peer::Direct | Peer::Hyper | Peer::Copy => return Ok(self.bench.clone()),
            Peer::Weft => {
                let control = self.control.as_ref().or(self.hop_control.as_ref());
                return control
                    .map(|control| control.program.clone())
                    .context("its control plane did not start");
            }
            Peer::Envoy => ("envoy", self.tools.join("envoy")),
            Peer::Haproxy => ("haproxy", debian.join("haproxy")),
            Peer::Nginx => ("nginx", debian.join("nginx")),
            Peer::Nghttpx => ("nghttpx", debian.join("nghttpx")),
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let in_path = env::split_paths(&path).map(|folder| folder.join(name));
        [installed]
            .into_iter()
            .chain(in_path)
            .find(|program| program.is_file())
            .context("it is not installed: run tests/bench/install")
    }

    /// What the program says its version is.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn version(&self, peer: Peer) -> anyhow::Result<String> {
        let flag = match peer {
            Peer::Haproxy | Peer::Nginx => "-v",
            _ => "--version",
        };
        let program = self.program(peer)?;
        let command = [program.display().to_string(), flag.to_owned()];
        let text = process::output(
            Path::new("env"),
            &[&self.libraries(), &command[0], &command[1]],
        )?;
        let digits = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let version = text
            .split(|letter: char| letter.is_whitespace() || "/:".contains(letter))
            .filter(digits)
            .find(|word| word.contains('.'));
        Ok(version.unwrap_or("unknown").to_owned())
    }

    fn libraries(&self) -> String {
        let root = self.tools.join("debian/usr/lib");
        let folder = root.join(format!("{}-linux-gnu", env::consts::ARCH));
        format!("LD_LIBRARY_PATH={}", folder.display())
    }

    /// Starts a target and waits until a call gets through.
    ///
    /// # Errors
    ///
    /// If it is not installed, or no call gets through.
    pub async fn start(&self, target: Target) -> anyhow::Result<Running> {
        let since = Instant::now();
        let mut inbound = None;
        let mut ready_file = None;
        let (address, processes) = match (target.layout, target.peer) {
            (Layout::Direct, _) => (self.app, Vec::new()),
            (layout, Peer::Weft) => {
                let started = match (layout, &self.hop_control, &self.control) {
                    (Layout::Hop, Some(control), _) => control.hop(self)?,
                    (Layout::Pair, _, Some(control)) => control.pair(self)?,
                    _ => bail!("its control plane did not start"),
                };
                inbound = started.inbound;
                ready_file = Some(started.ready_file);
                (started.address, started.processes)
            }
            (Layout::Hop, peer) => {
                let [listen] = process::free_addresses()?;
                (
                    listen,
                    vec![self.proxy(peer, "hop", listen, self.app, None)?],
                )
            }
            (Layout::Pair, peer) => {
                let [first, second] = process::free_addresses()?;
                inbound = Some(second);
                let up = Some(Side::Upstream);
                let down = Some(Side::Downstream);
                // The second first: some wait long before they try an upstream again.
                let inner = self.proxy(peer, "inbound", second, self.app, down)?;
                let outer = self.proxy(peer, "outbound", first, second, up)?;
                (first, vec![outer, inner])
            }
        };
        let mut running = Running {
            target,
            address,
            processes,
            started_in: Duration::ZERO,
            ready_in: None,
        };
        running.wait(since, ready_file.as_deref()).await?;
        if let Some(inbound) = inbound {
            ensure!(
                call::probe(inbound).await.is_err(),
                "the second proxy of the pair takes calls without TLS"
            );
        }
        Ok(running)
    }

    fn proxy(
        &self,
        peer: Peer,
        role: &str,
        listen: SocketAddr,
        upstream: SocketAddr,
        tls: Option<Side>,
    ) -> anyhow::Result<Process> {
        let program = self.program(peer)?;
        let name = format!("{}-{role}", peer.name());
        let stand = Stand {
            name: &name,
            listen,
            upstream,
            tls,
            certificates: &self.certificates,
            folder: &self.folder,
        };
        let args = match peer {
            Peer::Envoy => envoy::arguments(&stand)?,
            Peer::Haproxy => haproxy::arguments(&stand)?,
            Peer::Nginx => nginx::arguments(&stand)?,
            Peer::Nghttpx => nghttpx::arguments(&stand)?,
            Peer::Hyper => hyper(&stand),
            Peer::Copy => copy(&stand),
            Peer::Direct | Peer::Weft => bail!("{name} is no such proxy"),
        };
        let libraries = self.libraries();
        let environment: Vec<_> = libraries.split_once('=').into_iter().collect();
        Process::start(
            &name,
            self.core,
            &program,
            &args,
            &environment,
            &self.folder,
        )
    }
}

impl Running {
    async fn wait(&mut self, since: Instant, ready_file: Option<&Path>) -> anyhow::Result<()> {
        let mut carries = false;
        while !carries || (ready_file.is_some() && self.ready_in.is_none()) {
            if !carries {
                let result = call::probe(self.address).await;
                if let Err(error) = &result
                    && since.elapsed() > START_LIMIT
                {
                    let logs: Vec<_> = self.processes.iter().map(Process::last_words).collect();
                    bail!("no call gets through: {error:#}\n{}", logs.join("\n"));
                }
                carries = result.is_ok();
                self.started_in = since.elapsed();
            }
            // By the file's own time: a call may have been under way when it was written.
            if self.ready_in.is_none()
                && let Some(written) = ready_file.and_then(|file| file.metadata().ok())
            {
                let age = written.modified()?.elapsed().unwrap_or_default();
                self.ready_in = Some(since.elapsed().saturating_sub(age));
            }
            for process in &mut self.processes {
                process.check()?;
            }
            ensure!(
                since.elapsed() < START_LIMIT * 2,
                "it never says it is ready"
            );
            tokio::time::sleep(START_POLL).await;
        }
        Ok(())
    }

    /// Ends its processes in the order in which calls pass them.
    pub fn stop(self) {
        self.processes.into_iter().for_each(Process::stop);
    }
}
