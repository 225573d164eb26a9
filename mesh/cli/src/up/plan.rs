//! From the mesh file to the processes that run it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;
use weft_model::{Database, Mesh, Program, Run, Service};

use super::{keys, ports::FreePorts};
use crate::{
    args::UpArgs,
    data::{DataFolder, create_private},
    system,
};

/// Where the control plane listens if it can: known addresses are easier to remember.
const CONTROL_PORT: u16 = 15_012;
const CONTROL_ADMIN_PORT: u16 = 9_900;

/// What a process is. They are drained in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The front: nothing new comes in once it is gone.
    Edge,
    /// A replica of a service, which may still call others while it drains.
    Service,
    /// The proxy beside a replica.
    Sidecar,
    /// The control plane.
    Control,
}

/// One process: what to start and how to see that it is ready.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `orders-1`, `orders-1-sidecar`, `edge`, `control`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The service it belongs to, if any.
    pub service: Option<String>,
    /// The program.
    pub program: PathBuf,
    /// Whether `/proc` shows `program` for it. Not so where a script is run by an interpreter.
    pub own_program: bool,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides this process's own.
    pub env: Vec<(String, String)>,
    /// Where it is started.
    pub folder: PathBuf,
    /// A one-time token for this account goes into the file before every start.
    pub token: Option<(String, PathBuf)>,
    /// Its SPIFFE ID.
    pub identity: Option<String>,
    /// Its listeners by what they are for.
    pub ports: BTreeMap<String, SocketAddr>,
    /// Its log.
    pub log: PathBuf,
}

impl Spec {
    /// Where it answers `/readyz`.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.ports.get("admin").copied()
    }
}

/// Everything to start.
#[derive(Debug)]
pub struct Plan {
    /// Control first, then the rest.
    pub specs: Vec<Spec>,
    /// Where the edge listens.
    pub edge: SocketAddr,
    /// The status API of the control plane.
    pub control_admin: SocketAddr,
    /// The key that one-time tokens are made with.
    pub token_key: PathBuf,
    /// Keeps others from these ports as long as the mesh runs.
    pub _ports: FreePorts,
    /// Goes with the mesh.
    pub _keys: Option<TempDir>,
}

/// The packages that `weft up` builds, each once.
pub fn packages<'m>(mesh: &'m Mesh, only: &[String]) -> Vec<&'m str> {
    let mut packages: Vec<_> = runs(mesh, only)
        .flat_map(|(_, run)| [run].into_iter().chain(run.versions.values()))
        .filter_map(|run| match &run.program.value {
            Program::Cargo(package) => Some(package.as_str()),
            Program::Command(_) => None,
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Plans all processes.
///
/// # Errors
///
/// If the edge's address is taken or the data folder cannot be written.
pub fn plan(
    mesh: &Mesh,
    args: &UpArgs,
    data: &DataFolder,
    workspace: &Path,
    programs: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<Plan> {
    let mut ports = FreePorts::default();
    let edge = ports.demand(args.listen.unwrap_or(mesh.edge.listen))?;
    let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let (control, control_admin) = if args.place.data.is_some() {
        (ports.take()?, ports.take()?)
    } else {
        (
            ports.prefer(loopback(CONTROL_PORT))?,
            ports.prefer(loopback(CONTROL_ADMIN_PORT))?,
        )
    };
    let mut planner = Planner {
        mesh,
        args,
        data,
        workspace,
        programs,
        ports,
        weft: system::own_executable()?,
        mesh_file: std::path::absolute(&mesh.source.name)?,
        control,
        keys: keys::folder(data),
    };
    let mut specs = vec![planner.control(control_admin)?];
    for (service, run) in runs(mesh, &args.only) {
        let versions = run.versions.iter();
        let versions = versions.map(|(version, run)| (Some(version), run));
        // Numbers go on from one version to the next: a name is never another's.
        let mut number = 0;
        for (version, run) in [(None, run)].into_iter().chain(versions) {
            for _ in 0..run.replicas {
                number += 1;
                let [workload, mut sidecar] = planner.replica(service, run, number)?;
                if let Some(version) = version {
                    flag(&mut sidecar, "label", format!("version={version}"));
                }
                specs.extend([workload, sidecar]);
            }
        }
    }
    specs.push(planner.edge(edge)?);
    let mut ports = planner.ports;
    ports.release();
    Ok(Plan {
        _ports: ports,
        _keys: planner.keys,
        specs,
        edge,
        control_admin,
        token_key: data.control().join("token.key"),
    })
}

fn runs<'m>(mesh: &'m Mesh, only: &[String]) -> impl Iterator<Item = (&'m Service, &'m Run)> {
    let wanted = move |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let services = mesh
        .services
        .values()
        .filter(move |service| wanted(&service.name));
    services.filter_map(|service| Some((service, service.run.as_ref()?)))
}

struct Planner<'a> {
    mesh: &'a Mesh,
    args: &'a UpArgs,
    data: &'a DataFolder,
    workspace: &'a Path,
    programs: &'a BTreeMap<String, PathBuf>,
    ports: FreePorts,
    weft: PathBuf,
    mesh_file: PathBuf,
    control: SocketAddr,
    keys: Option<TempDir>,
}

impl Planner<'_> {
    /// A process of this same binary.
    fn weft(&self, name: &str, kind: Kind, command: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            kind,
            service: None,
            program: self.weft.clone(),
            own_program: true,
            args: vec![command.to_owned()],
            env: self.common_env(),
            folder: self.workspace.to_owned(),
            token: None,
            identity: None,
            ports: BTreeMap::new(),
            log: self.data.log(name),
        }
    }

    fn common_env(&self) -> Vec<(String, String)> {
        let grace = format!("{}ms", self.args.grace.as_millis());
        vec![
            ("EXIT_ON_STDIN_CLOSE".to_owned(), "1".to_owned()),
            ("DRAIN_GRACE".to_owned(), grace),
        ]
    }

    fn control(&mut self, admin: SocketAddr) -> anyhow::Result<Spec> {
        let mut spec = self.weft("control", Kind::Control, "control");
        let state = self.data.control();
        create_private(&state)?;
        flag(&mut spec, "mesh", self.mesh_file.display());
        flag(&mut spec, "state-dir", state.display());
        listen(&mut spec, "listen", self.control);
        listen(&mut spec, "admin", admin);
        Ok(spec)
    }

    /// What edge and sidecars need to reach the control plane as themselves.
    fn enrol(&self, spec: &mut Spec, account: &str) -> anyhow::Result<()> {
        let folder = self.data.run(&spec.name);
        create_private(&folder)?;
        let token = folder.join("token");
        flag(spec, "control", format!("https://{}", self.control));
        flag(
            spec,
            "trust-bundle",
            self.data.control().join("root.pem").display(),
        );
        flag(spec, "token-file", token.display());
        flag(spec, "state-dir", folder.join("state").display());
        create_private(&folder.join("state"))?;
        if let Some(keys) = &self.keys {
            flag(spec, "identity-dir", keys.path().display());
        }
        spec.token = Some((account.to_owned(), token));
        spec.identity = Some(self.mesh.identity(account));
        Ok(())
    }

    fn edge(&mut self, address: SocketAddr) -> anyhow::Result<Spec> {
        let mut spec = self.weft("edge", Kind::Edge, "edge");
        flag(&mut spec, "mesh", self.mesh_file.display());
        listen(&mut spec, "listen", address);
        let admin = self.ports.take()?;
        listen(&mut spec, "admin", admin);
        self.enrol(&mut spec, &self.mesh.edge.service_account)?;
        Ok(spec)
    }

    /// One replica of a service and the sidecar beside it.
    fn replica(&mut self, service: &Service, run: &Run, number: u32) -> anyhow::Result<[Spec; 2]> {
        let name = format!("{}-{number}", service.name.value);
        let (app, admin) = (self.ports.take()?, self.ports.take()?);

        let mut sidecar = self.weft(&format!("{name}-sidecar"), Kind::Sidecar, "proxy");
        sidecar.service = Some(service.name.value.clone());
        flag(&mut sidecar, "service", &service.name.value);
        flag(&mut sidecar, "instance", &name);
        flag(&mut sidecar, "app", app);
        for purpose in ["inbound", "outbound", "admin"] {
            let address = self.ports.take()?;
            listen(&mut sidecar, purpose, address);
        }
        self.enrol(&mut sidecar, &service.service_account)?;
        let outbound = sidecar.ports["outbound"];

        let (program, args, folder, own_program) = self.program(run)?;
        let mut env = self.common_env();
        env.extend([
            ("LISTEN".to_owned(), app.to_string()),
            ("ADMIN_LISTEN".to_owned(), admin.to_string()),
            ("OUTBOUND_PROXY".to_owned(), format!("http://{outbound}")),
        ]);
        if let Some(url) = self.database(service)? {
            env.push(("DATABASE_URL".to_owned(), url));
        }
        env.extend(run.env.clone());
        let workload = Spec {
            kind: Kind::Service,
            service: Some(service.name.value.clone()),
            program,
            own_program,
            args,
            env,
            folder,
            token: None,
            identity: sidecar.identity.clone(),
            ports: [("listen".to_owned(), app), ("admin".to_owned(), admin)].into(),
            log: self.data.log(&name),
            name,
        };
        Ok([workload, sidecar])
    }

    fn program(&self, run: &Run) -> anyhow::Result<(PathBuf, Vec<String>, PathBuf, bool)> {
        match &run.program.value {
            Program::Cargo(package) => {
                let program = self.programs.get(package).cloned();
                let program =
                    program.with_context(|| format!("package `{package}` was not built"))?;
                Ok((program, Vec::new(), self.workspace.to_owned(), true))
            }
            Program::Command(words) => {
                let (program, args) = words.split_first().context("an empty command")?;
                let folder = self.mesh_file.parent().unwrap_or(self.workspace).to_owned();
                Ok((PathBuf::from(program), args.to_vec(), folder, false))
            }
        }
    }

    fn database(&self, service: &Service) -> anyhow::Result<Option<String>> {
        Ok(match &service.database {
            None => None,
            Some(Database::Url(url)) => Some(url.clone()),
            Some(Database::Sqlite) => {
                let name = &service.name.value;
                let folder = self.data.service(name);
                create_private(&folder)?;
                Some(format!(
                    "sqlite://{}",
                    folder.join(format!("{name}.db")).display()
                ))
            }
        })
    }
}

fn flag(spec: &mut Spec, name: &str, value: impl std::fmt::Display) {
    spec.args.push(format!("--{name}"));
    spec.args.push(value.to_string());
}

/// Adds a listener and its flag: `--listen`, `--admin-listen`, `--inbound-listen`, ...
fn listen(spec: &mut Spec, purpose: &str, address: SocketAddr) {
    let name = if purpose == "listen" {
        "listen".to_owned()
    } else {
        format!("{purpose}-listen")
    };
    flag(spec, &name, address);
    spec.ports.insert(purpose.to_owned(), address);
}
