//! `weft proxy`: gets what a sidecar needs from the control plane, then runs it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, TcpSocket},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weft_channel::registration::Particulars;
use weft_identity::{Enrolment, Expected, Identity, TrustBundle, channel, client_config};
use weft_model::dataplane::Label;
use weft_policy::{PATIENCE, Reason};
use weft_runtime::{
    admin::{Admin, Readiness},
    metrics, ready, shutdown, telemetry,
};

use crate::{Args, Grace, Workload, outbound::Outbound};
use weft_xds::client::{AdsClient, AdsOptions};

/// As many as tokio gives a listener.
const BACKLOG: u32 = 1024;

/// Runs a sidecar until SIGTERM or SIGINT, then drains it. Builds its own tokio runtime and sets up
/// logs.
///
/// # Errors
/// If the outbound listener is not on loopback, a listener cannot be bound, the trust bundle or the folder
/// for the certificate cannot be used, or the control plane refuses the token or the renewal.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = weft_runtime::runtime().context("cannot start threads")?;
    runtime.block_on(async {
        let name = format!("{}-sidecar", args.service);
        let _telemetry = telemetry::init_with(&name, &[args.access_log.level()]);
        serve(args, shutdown::token()).await
    })
}

/// As [`run`], inside a runtime, until `shutdown` is cancelled.
///
/// While the control plane is away, certificate and configuration of the last run serve until it answers.
/// Where no certificate was kept, or it has expired, the sidecar keeps asking, refuses the workload's calls
/// with `NO_IDENTITY`, and lets callers find nobody at its inbound address.
///
/// # Errors
/// As [`run`].
pub async fn serve(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.state_dir)
        .with_context(|| format!("cannot create {}", args.state_dir.display()))?;
    anyhow::ensure!(
        args.outbound_listen.ip().is_loopback(),
        "--outbound-listen {} is no loopback address: who reaches it calls as this workload, without TLS",
        args.outbound_listen
    );
    let inbound = reserve(args.inbound_listen)?;
    let outbound = bind(args.outbound_listen, "outbound").await?;
    let admin_listener = bind(args.admin_listen, "admin").await?;
    let admin_address = admin_listener.local_addr()?;
    let outbound = Outbound::open(outbound, args.app, args.locality.clone())?;
    let admin = Admin {
        routes: outbound.pages(inbound.local_addr()?),
        ..Admin::default()
    };
    let readiness = admin.readiness.clone();
    // The admin port answers while a drain goes on, so it outlives `shutdown`.
    let over = CancellationToken::new();
    let over_guard = over.clone().drop_guard();
    let admin_task = tokio::spawn(weft_runtime::admin::serve(admin_listener, admin, over));

    let bundle = TrustBundle::from_file(&args.trust_bundle)
        .with_context(|| format!("cannot use trust bundle {}", args.trust_bundle.display()))?;
    let mut enrolment = Enrolment::new(args.control.clone(), bundle, args.token_file.clone())
        .with_ttl(args.certificate_ttl);
    if let Some(dir) = &args.identity_dir {
        enrolment = enrolment.kept_in(dir, &args.instance)?;
    }
    let identity = tokio::select! {
        enrolled = complaining(enrolment.enrol()) => {
            enrolled.context("the control plane gives no identity")?
        }
        () = shutdown.cancelled() => return Ok(()),
        error = outbound.ended() => return Err(error),
    };
    let inbound = inbound
        .listen(BACKLOG)
        .with_context(|| format!("cannot listen on {} (inbound)", args.inbound_listen))?;
    let sides = (inbound, outbound);
    tokio::select! {
        ran = with_identity(&args, sides, &identity, admin_address, readiness, shutdown) => ran?,
        renewed = enrolment.keep_renewed(identity.clone()) => match renewed {
            Ok(never) => match never {},
            Err(error) => {
                return Err(anyhow::Error::new(error).context("the certificate is not renewed"));
            }
        },
    }
    drop(over_guard);
    let _ = admin_task.await;
    Ok(())
}

/// Waits for `enrolled`, and says so if it takes long.
async fn complaining<T>(enrolled: impl Future<Output = T>) -> T {
    let mut enrolled = std::pin::pin!(enrolled);
    if let Ok(enrolled) = timeout(PATIENCE, enrolled.as_mut()).await {
        return enrolled;
    }
    let reason = Reason::NoIdentity.as_str();
    warn!(reason, "no certificate yet, calls are refused");
    enrolled.await
}

async fn with_identity(
    args: &Args,
    (inbound, outbound): (TcpListener, Outbound),
    identity: &Arc<Identity>,
    admin_address: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tls = client_config(identity, Expected::ServiceAccount("control".to_owned()))?;
    let control = channel(&args.control, tls);
    let ads = AdsClient::new(
        control.clone(),
        AdsOptions {
            service: Some(args.service.clone()),
            node_id: args.instance.clone(),
            state_dir: Some(args.state_dir.clone()),
        },
    );
    let snapshots = ads.snapshots();
    let ads_stop = CancellationToken::new();
    let ads_guard = ads_stop.clone().drop_guard();
    let ads_task = tokio::spawn(ads.run(ads_stop));
    let labels = args.labels.iter().cloned();
    let labels = labels.map(|Label { key, value }| (key, value));
    let workload = Workload {
        service: args.service.clone(),
        instance: args.instance.clone(),
        app: args.app,
        advertise: args.advertise,
        particulars: Particulars {
            labels: labels.collect(),
            locality: args.locality.clone(),
            weight: args.weight,
        },
    };
    let mut sidecar = outbound.into_sidecar(
        workload,
        inbound,
        Arc::clone(identity),
        snapshots,
        &metrics::global(),
    )?;
    sidecar.readiness = readiness;
    let grace = Grace {
        total: args.drain_grace,
        ..Grace::default()
    };
    let ready_facts = serde_json::json!({
        "listen": sidecar.inbound_address().to_string(),
        "outbound": sidecar.outbound_address().to_string(),
        "admin": admin_address.to_string(),
        "identity": identity.id().as_str(),
    });
    let configured = sidecar.configured();
    let announced = async {
        configured.await;
        if let Some(path) = &args.ready_file {
            ready::write(path, &ready_facts)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        ran = sidecar.run(Some(control), shutdown.cancelled(), grace) => ran?,
        result = announced => result?,
    }
    drop(ads_guard);
    let _ = ads_task.await;
    Ok(())
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({what})"))
}

/// Takes an address without listening on it yet: whoever connects is refused at once.
fn reserve(address: SocketAddr) -> anyhow::Result<TcpSocket> {
    let reserved = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok::<_, std::io::Error>(socket)
    };
    reserved().with_context(|| format!("cannot listen on {address} (inbound)"))
}
