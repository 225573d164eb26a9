//! `weft proxy`: gets what a sidecar needs from the control plane, then runs it.

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weft_identity::{Enrolment, Expected, TrustBundle, channel, client_config};
use weft_runtime::{admin::Admin, metrics, ready, shutdown, telemetry};

use crate::{Args, Grace, Listeners, Sidecar, Workload};
use weft_xds::client::{AdsClient, AdsOptions};

/// Runs a sidecar until SIGTERM or SIGINT, then drains it. Builds its own tokio runtime and sets up
/// logs.
///
/// # Errors
/// If a listener cannot be bound, the trust bundle cannot be read, or the control plane refuses the
/// token or the renewal.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = weft_runtime::runtime().context("cannot start threads")?;
    runtime.block_on(async {
        let _telemetry = telemetry::init(&format!("{}-sidecar", args.service));
        serve(args, shutdown::token()).await
    })
}

/// As [`run`], inside a runtime, until `shutdown` is cancelled.
///
/// # Errors
/// As [`run`].
pub async fn serve(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.state_dir)
        .with_context(|| format!("cannot create {}", args.state_dir.display()))?;
    let listeners = Listeners {
        inbound: bind(args.inbound_listen, "inbound").await?,
        outbound: bind(args.outbound_listen, "outbound").await?,
    };
    let admin_listener = bind(args.admin_listen, "admin").await?;
    let admin_address = admin_listener.local_addr()?;
    let admin = Admin::default();
    let readiness = admin.readiness.clone();
    // The admin port answers while a drain goes on, so it outlives `shutdown`.
    let over = CancellationToken::new();
    let over_guard = over.clone().drop_guard();
    let admin_task = tokio::spawn(weft_runtime::admin::serve(admin_listener, admin, over));

    let bundle = TrustBundle::from_file(&args.trust_bundle)
        .with_context(|| format!("cannot use trust bundle {}", args.trust_bundle.display()))?;
    let enrolment = Enrolment::new(args.control.clone(), bundle, args.token_file.clone());
    let identity = tokio::select! {
        enrolled = enrolment.enrol() => enrolled.context("the control plane gives no identity")?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let tls = client_config(&identity, Expected::ServiceAccount("control".to_owned()))?;
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

    let sidecar = Sidecar::new(
        Workload {
            service: args.service.clone(),
            instance: args.instance.clone(),
            app: args.app,
            advertise: args.advertise,
        },
        listeners,
        identity.clone(),
        snapshots,
        &metrics::global(),
    )?;
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
    let announce = async {
        configured.await;
        readiness.set(true);
        match &args.ready_file {
            Some(path) => ready::write(path, &ready_facts)
                .with_context(|| format!("cannot write {}", path.display())),
            None => Ok(()),
        }
    };
    let announced = async {
        announce.await?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    let renewed = async {
        match enrolment.keep_renewed(identity.clone()).await {
            Ok(never) => match never {},
            Err(error) => Err(anyhow::Error::new(error).context("the certificate is not renewed")),
        }
    };
    let drained = async {
        shutdown.cancelled().await;
        readiness.set(false);
    };
    tokio::select! {
        () = sidecar.run(Some(control), drained, grace) => {}
        result = announced => result?,
        result = renewed => result?,
    }
    drop((ads_guard, over_guard));
    let _ = ads_task.await;
    let _ = admin_task.await;
    Ok(())
}

async fn bind(address: std::net::SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({what})"))
}
