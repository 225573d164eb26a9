//! `weft edge`: the front as a process.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::TaskTracker;
use weft_channel::Channel;
use weft_identity::{Enrolment, Expected, TrustBundle, channel, client_config};
use weft_model::Mesh;
use weft_runtime::{admin, metrics, ready, shutdown};
use weft_xds::client::{AdsClient, AdsOptions};

use crate::{
    Args,
    auth::Issuer,
    front::{Config, Front},
    server,
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

    let bundle = TrustBundle::from_file(&args.trust_bundle)
        .with_context(|| format!("cannot use trust bundle {}", args.trust_bundle.display()))?;
    let enrolment = Enrolment::new(args.control.clone(), bundle, args.token_file.clone());
    let identity = tokio::select! {
        identity = enrolment.enrol() => identity?,
        () = stop.cancelled() => return Ok(()),
    };
    let tls = client_config(&identity, Expected::ServiceAccount("control".into()))?;
    let options = AdsOptions {
        service: None,
        node_id: format!("edge-{}", std::process::id()),
        state_dir: Some(args.state_dir.clone()),
    };
    let ads = AdsClient::new(channel(&args.control, tls), options);
    let mut snapshots = ads.snapshots();
    tasks.spawn(ads.run(stop.clone()));

    let mesh_channel = Channel::new(
        ads_snapshots(&snapshots),
        identity.clone(),
        &metrics::global(),
    );
    let front = Front::new(pool, &config, Arc::new(mesh_channel), &metrics::global())?;
    let front = Arc::new(front);
    let configured = tokio::select! {
        configured = snapshots.wait_for(Option::is_some) => configured.is_ok(),
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(configured, "configuration arrived");
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
    let renewal = enrolment.keep_renewed(Arc::clone(&identity));
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

fn ads_snapshots<T>(receiver: &tokio::sync::watch::Receiver<T>) -> tokio::sync::watch::Receiver<T> {
    receiver.clone()
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
