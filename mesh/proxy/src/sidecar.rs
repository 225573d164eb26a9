//! The sidecar as a whole: its listeners, its workload, and the order in which it goes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use weft_channel::{Channel, upstream::Pool};
use weft_identity::{Identity, server_config};
use weft_model::dataplane::Snapshot;
use weft_runtime::metrics::Metrics;

use crate::{
    connection::Lifecycle,
    health,
    inbound::{self, Inbound},
    metrics::InboundMetrics,
    outbound,
    registration::{self, Registration},
};

/// The workload a sidecar stands beside.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its service in the mesh file.
    pub service: String,
    /// Its name, unique within the service.
    pub instance: String,
    /// Where it serves gRPC without TLS.
    pub app: SocketAddr,
    /// Where others reach the inbound listener, if not where it is bound.
    pub advertise: Option<SocketAddr>,
}

/// Bound listeners, so that callers can choose port 0 and know the port.
#[derive(Debug)]
pub struct Listeners {
    /// For other sidecars, mutual TLS.
    pub inbound: TcpListener,
    /// For the workload, cleartext.
    pub outbound: TcpListener,
}

/// How long a drain takes.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// How long connections and calls are still accepted after deregistering, so that callers learn of
    /// it before they are turned away.
    pub notice: Duration,
    /// After this, whatever is open is cut.
    pub total: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self {
            notice: Duration::from_millis(300),
            total: Duration::from_secs(10),
        }
    }
}

/// A sidecar that is ready to run.
pub struct Sidecar {
    workload: Workload,
    listeners: Listeners,
    inbound_address: SocketAddr,
    outbound_address: SocketAddr,
    tls: TlsAcceptor,
    inbound: Arc<Inbound>,
    channel: Channel,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl Sidecar {
    /// Puts a sidecar together. Registers its metrics, so one sidecar per `metrics`.
    ///
    /// # Errors
    /// If the listeners have no address or the trust bundle cannot be used.
    pub fn new(
        workload: Workload,
        listeners: Listeners,
        identity: Arc<Identity>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let tls = server_config(&identity).context("the trust bundle cannot be used")?;
        let address = |listener: &TcpListener| -> io::Result<SocketAddr> { listener.local_addr() };
        Ok(Self {
            inbound_address: address(&listeners.inbound)?,
            outbound_address: address(&listeners.outbound)?,
            tls: TlsAcceptor::from(tls),
            channel: Channel::new(snapshots.clone(), Arc::clone(&identity), metrics),
            inbound: Arc::new(Inbound {
                identity,
                snapshots: snapshots.clone(),
                app: workload.app,
                pool: Pool::new(None, TaskTracker::new()),
                metrics: InboundMetrics::register(metrics),
            }),
            workload,
            listeners,
            snapshots,
        })
    }

    /// Where other sidecars connect.
    pub fn inbound_address(&self) -> SocketAddr {
        self.inbound_address
    }

    /// Where the workload sends its calls.
    pub fn outbound_address(&self) -> SocketAddr {
        self.outbound_address
    }

    /// Waits for the first configuration. The future borrows nothing.
    pub fn configured(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut snapshots = self.snapshots.clone();
        async move {
            // Without a sender none will come; then it waits for ever.
            if snapshots.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Serves until `shutdown` completes, then drains: leaves the registry, keeps accepting for a
    /// notice, says GOAWAY inbound and finishes what is open, then the same outbound, where the
    /// workload's last calls may still be under way. `control` is where the workload is registered;
    /// without it, it is not.
    pub async fn run(
        self,
        control: Option<tonic::transport::Channel>,
        shutdown: impl Future<Output = ()>,
        grace: Grace,
    ) {
        let configured = self.configured();
        let (inbound_life, outbound_life) = (Lifecycle::default(), Lifecycle::default());
        let (serving_now, serving) = watch::channel(false);
        let leave = CancellationToken::new();
        let tasks = TaskTracker::new();
        let registration = Registration {
            service: self.workload.service.clone(),
            instance: self.workload.instance.clone(),
            address: self.workload.advertise.unwrap_or(self.inbound_address),
        };
        let left = tasks.spawn({
            let leave = leave.clone();
            async move {
                tokio::select! {
                    () = configured => {}
                    () = leave.cancelled() => return,
                }
                if let Some(control) = control {
                    registration::keep(registration, control, serving, leave).await;
                } else {
                    leave.cancelled().await;
                }
            }
        });
        let health = tokio::spawn(health::watch_workload(self.workload.app, serving_now));
        let Listeners { inbound, outbound } = self.listeners;
        tasks.spawn(inbound::serve(
            inbound,
            self.tls,
            self.inbound,
            inbound_life.clone(),
        ));
        tasks.spawn(outbound::serve(
            outbound,
            self.channel,
            outbound_life.clone(),
        ));
        info!(
            service = self.workload.service,
            instance = self.workload.instance,
            inbound = %self.inbound_address,
            outbound = %self.outbound_address,
            app = %self.workload.app,
            "sidecar serves"
        );

        shutdown.await;
        let end = Instant::now() + grace.total;
        leave.cancel();
        let _ = timeout_at(end, left).await;
        sleep(grace.notice.min(grace.total)).await;
        drain(&inbound_life, end, "inbound").await;
        drain(&outbound_life, end, "outbound").await;
        health.abort();
        tasks.close();
        let _ = timeout_at(end, tasks.wait()).await;
        info!(instance = self.workload.instance, "sidecar drained");
    }
}

/// Ends a listener's connections: politely until `end`, then at once.
async fn drain(life: &Lifecycle, end: Instant, which: &'static str) {
    life.drain.cancel();
    life.tasks.close();
    if timeout_at(end, life.tasks.wait()).await.is_err() {
        let open = life.tasks.len();
        warn!(which, open, "grace is over, connections are cut");
        life.stop.cancel();
        life.tasks.wait().await;
    }
}
