//! `weft edge`: the front as a process.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weft_channel::Channel;
use weft_identity::{Enrolment, Expected, Identity, TrustBundle, channel, client_config};
use weft_model::Mesh;
use weft_runtime::{admin, metrics, ready, shutdown};
use weft_xds::client::{AdsClient, AdsOptions};

use crate::{
    Args,
    args::Upstreams,
    auth::Issuer,
    direct::Direct,
    front::{Config, Front},
    server,
    upstream::Upstream,
};

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// If the mesh file, the control plane's trust bundle, the token or a port cannot be used.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let pool = contracts::pool();
    let mesh = Mesh::checked(&args.mesh, pool)?;
    let config = config(&mesh);
    let stop = shutdown::token();
    let listen = args.listen.unwrap_or(mesh.edge.listen);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let admin_listener = TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {} for admin", args.admin_listen))?;
    let admin_address = admin_listener.local_addr()?;
    let admin = admin::Admin::default();
    let readiness = admin.readiness.clone();
    let tasks = TaskTracker::new();
    let serving_admin = tokio::spawn(admin::serve(admin_listener, admin, Default::default()));

    let joined = match args.upstreams {
        Upstreams::Dns => None,
        Upstreams::Mesh => tokio::select! {
            joined = join_mesh(&args, &tasks, &stop) => Some(joined?),
            () = stop.cancelled() => return Ok(()),
        },
    };
    let upstream: Arc<dyn Upstream> = match &joined {
        Some(joined) => Arc::new(joined.channel.clone()),
        None => Arc::new(Direct::default()),
    };
    let front = Arc::new(Front::new(pool, &config, upstream, &metrics::global())?);
    tasks.spawn({
        let (front, stop) = (Arc::clone(&front), stop.clone());
        async move { front.keep_keys_fresh(stop).await }
    });

    let address = listener.local_addr()?;
    front.set_serving(true).await;
    readiness.set(true);
    if let Some(path) = &args.ready_file {
        let facts = serde_json::json!({
            "listen": address.to_string(),
            "admin": admin_address.to_string(),
        });
        ready::write(path, &facts).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(%address, admin = %admin_address, "edge serves");

    let serving = server::serve(
        listener,
        Arc::clone(&front),
        args.max_connections,
        stop.clone(),
        args.drain_grace,
    );
    let announce = async {
        stop.cancelled().await;
        readiness.set(false);
        front.set_serving(false).await;
        std::future::pending::<()>().await;
    };
    let renewal = async {
        match &joined {
            Some(joined) => {
                joined
                    .enrolment
                    .keep_renewed(Arc::clone(&joined.identity))
                    .await
            }
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        () = serving => Ok(()),
        () = announce => Ok(()),
        ended = renewal => match ended {
            Ok(never) => match never {},
            Err(error) => Err(anyhow::Error::new(error).context("the certificate cannot be renewed")),
        },
    };
    stop.cancel();
    tasks.close();
    let _ = timeout(Duration::from_secs(2), tasks.wait()).await;
    serving_admin.abort();
    tracing::info!("edge drained");
    outcome
}

/// The edge's place in the mesh.
struct Joined {
    channel: Channel,
    enrolment: Enrolment,
    identity: Arc<Identity>,
}

/// Gets a certificate and the first configuration from the control plane.
async fn join_mesh(
    args: &Args,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Joined> {
    let needed = |value: &Option<PathBuf>, flag: &str| {
        let value = value.clone();
        value.with_context(|| format!("{flag} is missing; only --upstreams=dns does without"))
    };
    let bundle = needed(&args.trust_bundle, "--trust-bundle")?;
    let token_file = needed(&args.token_file, "--token-file")?;
    let state_dir = needed(&args.state_dir, "--state-dir")?;
    let bundle = TrustBundle::from_file(&bundle)
        .with_context(|| format!("cannot use trust bundle {}", bundle.display()))?;
    let mut enrolment = Enrolment::new(args.control.clone(), bundle, token_file);
    if let Some(dir) = &args.identity_dir {
        enrolment = enrolment.kept_in(dir, "edge")?;
    }
    let identity = enrolment.enrol().await?;
    let tls = client_config(&identity, Expected::ServiceAccount("control".into()))?;
    let options = AdsOptions {
        service: None,
        node_id: "edge".to_owned(),
        state_dir: Some(state_dir),
    };
    let ads = AdsClient::new(channel(&args.control, tls), options);
    let mut snapshots = ads.snapshots();
    tasks.spawn(ads.run(stop.clone()));
    let channel = Channel::new(snapshots.clone(), identity.clone(), &metrics::global());
    let configured = snapshots.wait_for(Option::is_some).await.is_ok();
    tracing::info!(configured, "configuration arrived");
    Ok(Joined {
        channel,
        enrolment,
        identity,
    })
}

/// What the mesh file says about the front.
fn config(mesh: &Mesh) -> Config {
    let serves = mesh.services.values().flat_map(|service| &service.serves);
    let issuers = mesh.edge.jwt_rules.iter().map(|rule| Issuer {
        issuer: rule.issuer.value.clone(),
        audiences: rule.audiences.clone(),
        keys_uri: rule.jwks_uri.value.clone(),
    });
    Config {
        routes: weft_model::edge_routes(mesh, contracts::pool()),
        services: serves.map(|name| name.value.clone()).collect(),
        issuers: issuers.collect(),
        pages: mesh.edge.pages.as_ref().map(|path| mesh.resolve(path)),
        max_body_bytes: usize::try_from(mesh.edge.max_body_bytes).unwrap_or(usize::MAX),
    }
}
