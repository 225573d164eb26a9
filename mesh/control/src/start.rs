//! Puts the parts together.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Server;
use weft_identity::{
    CertificateAuthority, SpiffeId, TrustDomain, server_config_with_optional_client,
    token::{Verifier, load_or_create_key},
};
use weft_model::CONTROL_ACCOUNT;
use weft_runtime::admin::{Admin, Readiness};
use weft_xds::server::AdsServer;

use crate::{
    Args,
    certificates::Certificates,
    listener,
    mesh_file::MeshFile,
    metrics::Metrics,
    nodes::ConnectedNodes,
    planner::{Planner, Views, Workloads},
    registry_service::RegistryApi,
    renewal, status,
};

/// Streams end at once when draining; this is for calls that are open.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 64;
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A running control plane.
#[derive(Debug)]
pub struct Running {
    /// Where ADS, certificates and the registry are.
    pub listen: SocketAddr,
    /// Where status, metrics and health are.
    pub admin: SocketAddr,
    sources: status::Sources,
    readiness: Readiness,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    server: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    /// What `/status` answers.
    pub fn status(&self) -> Value {
        self.sources.status()
    }

    /// Waits for the shutdown and the drain after it.
    ///
    /// # Errors
    /// If the server ends before it is asked to.
    pub async fn wait(self) -> anyhow::Result<()> {
        let Self {
            readiness,
            shutdown,
            tasks,
            mut server,
            ..
        } = self;
        let served = tokio::select! {
            served = &mut server => Some(served),
            () = shutdown.cancelled() => None,
        };
        readiness.set(false);
        shutdown.cancel();
        tasks.close();
        let drained = tokio::time::timeout(DRAIN_GRACE, async {
            let served = match served {
                Some(served) => served,
                None => (&mut server).await,
            };
            tasks.wait().await;
            served
        })
        .await;
        match drained {
            Ok(served) => served
                .context("the server task failed")?
                .context("the server failed"),
            Err(_) => {
                tracing::warn!(grace = ?DRAIN_GRACE, "not everything was drained in time");
                server.abort();
                Ok(())
            }
        }
    }
}

/// Starts everything and returns once both ports listen. `shutdown` drains it.
///
/// # Errors
/// If a port is taken, a file of the state folder unusable, or the mesh file broken and no last good
/// copy of it there.
pub async fn start(args: Args, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let listener = bind(args.listen, "--listen").await?;
    let admin_listener = bind(args.admin_listen, "--admin-listen").await?;
    let dir = &args.state_dir;
    weft_identity::create_private_dir(dir)
        .with_context(|| format!("cannot create state folder {}", dir.display()))?;

    let registry = weft_runtime::metrics::Metrics::new();
    let metrics = Metrics::new(&registry);
    let file = MeshFile::open(&args.mesh, dir, metrics.clone())?;
    let mesh = file.mesh();
    let (trust_domain, namespace) = {
        let mesh = mesh.borrow();
        (
            TrustDomain::new(&mesh.trust_domain)?,
            mesh.namespace.clone(),
        )
    };
    let authority = Arc::new(CertificateAuthority::open(dir, &trust_domain)?);
    let own_id = SpiffeId::workload(&trust_domain, &namespace, CONTROL_ACCOUNT)?;
    let identity = renewal::identity(&authority, &own_id)?;
    let tokens = Arc::new(open_tokens(dir)?);

    let workloads = Arc::new(Workloads::open(dir));
    let views = Arc::new(Views::default());
    let nodes = Arc::new(ConnectedNodes::new(Arc::clone(&views), metrics.clone()));
    let planner = Planner::new(
        file.mesh(),
        Arc::clone(&workloads),
        views,
        metrics.clone(),
        dir,
    );
    let sources = status::Sources {
        mesh: file.mesh(),
        file: file.state(),
        workloads: Arc::clone(&workloads),
        nodes: Arc::clone(&nodes),
        started: SystemTime::now(),
    };

    let tasks = TaskTracker::new();
    let listen = listener.local_addr()?;
    let admin = admin_listener.local_addr()?;
    let acceptor = TlsAcceptor::from(server_config_with_optional_client(&identity)?);
    let connections = listener::accept(
        listener,
        acceptor,
        metrics.clone(),
        &tasks,
        shutdown.clone(),
    );
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .add_service(AdsServer::new(nodes, shutdown.clone(), tasks.clone()).into_service())
        .add_service(
            RegistryApi {
                mesh: file.mesh(),
                workloads: Arc::clone(&workloads),
                draining: shutdown.clone(),
            }
            .into_service(),
        )
        .add_service(
            Certificates {
                authority: Arc::clone(&authority),
                tokens,
                mesh,
                metrics,
            }
            .into_service(),
        );
    let draining = shutdown.clone().cancelled_owned();
    let server = tokio::spawn(
        router.serve_with_incoming_shutdown(ReceiverStream::new(connections), draining),
    );

    tasks.spawn(planner.run(shutdown.clone()));
    tasks.spawn(file.watch(shutdown.clone()));
    tasks.spawn(renewal::keep_renewed(authority, identity, shutdown.clone()));
    let sweeping = shutdown.clone();
    tasks.spawn(async move { workloads.sweep(sweeping).await });

    let readiness = Readiness::default();
    let pages = Admin {
        metrics: registry,
        readiness: readiness.clone(),
        routes: status::routes(sources.clone()),
    };
    tasks.spawn(serve_admin(admin_listener, pages, shutdown.clone()));
    readiness.set(true);
    if let Some(path) = &args.ready_file {
        let ready = json!({ "listen": listen.to_string(), "admin": admin.to_string() });
        weft_runtime::ready::write(path, &ready)
            .with_context(|| format!("cannot write ready file {}", path.display()))?;
    }
    tracing::info!(%listen, %admin, identity = %own_id, "control plane ready");
    Ok(Running {
        listen,
        admin,
        sources,
        readiness,
        shutdown,
        tasks,
        server,
    })
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({flag})"))
}

fn open_tokens(dir: &Path) -> anyhow::Result<Verifier> {
    let open = || -> io::Result<Verifier> {
        let key = load_or_create_key(&dir.join("token.key"))?;
        Verifier::open(&key, &dir.join("used-tokens"))
    };
    open().with_context(|| format!("cannot use the token key in {}", dir.display()))
}

/// Status is worth having, but the mesh does not need it.
async fn serve_admin(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    if let Err(error) = weft_runtime::admin::serve(listener, admin, shutdown).await {
        tracing::error!(%error, "admin port failed");
    }
}
