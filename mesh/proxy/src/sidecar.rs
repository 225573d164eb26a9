//! The sidecar as a whole: its listeners, its workload, and the order in which it goes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use weft_channel::registration::{self, Particulars, Registration};
use weft_identity::Identity;
use weft_model::dataplane::{Locality, Snapshot};
use weft_runtime::{admin::Readiness, metrics::Metrics};

use crate::{
    health, names,
    outbound::Outbound,
    pages::Pages,
    plane::{Command, Plane, Side},
};

/// How long connections take to end that are cut.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What whoever started the process reads, and starts it again.
pub(crate) const ENDED: &str = "the data plane has ended by itself, see the log";

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
    /// What tells it from the others of its service.
    pub particulars: Particulars,
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
    pub(crate) workload: Workload,
    pub(crate) inbound: std::net::TcpListener,
    pub(crate) inbound_address: SocketAddr,
    pub(crate) outbound_address: SocketAddr,
    pub(crate) plane: Arc<Plane>,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) readiness: Readiness,
}

impl Sidecar {
    /// Puts a sidecar together; it takes calls from [`Sidecar::run`] on. Registers its metrics, so one
    /// sidecar per `metrics`.
    ///
    /// # Errors
    /// If the listeners have no address or there are no more threads.
    pub fn new(
        workload: Workload,
        listeners: Listeners,
        identity: Arc<Identity>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let outbound = Outbound::open(listeners.outbound, workload.app, Locality::default())?;
        outbound.into_sidecar(workload, listeners.inbound, identity, snapshots, metrics)
    }

    /// Where other sidecars connect.
    pub fn inbound_address(&self) -> SocketAddr {
        self.inbound_address
    }

    /// Where the workload sends its calls.
    pub fn outbound_address(&self) -> SocketAddr {
        self.outbound_address
    }

    /// What operators see of it, for the admin port.
    pub fn pages(&self) -> axum::Router {
        let pages = Pages {
            plane: Arc::downgrade(&self.plane),
            inbound: self.inbound_address,
            outbound: self.outbound_address,
        };
        pages.router()
    }

    /// Whether a call from elsewhere would arrive: certificate and configuration are there, the workload
    /// serves, and the registry has it, so that the control plane tells callers of it. A drain ends it.
    /// It stays while the control plane is away.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
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
    ///
    /// # Errors
    /// If the data plane ends by itself, which only a bug or the system can make it do.
    pub async fn run(
        self,
        control: Option<tonic::transport::Channel>,
        shutdown: impl Future<Output = ()>,
        grace: Grace,
    ) -> anyhow::Result<()> {
        let configured = self.configured();
        let (serving_now, serving) = watch::channel(false);
        let leave = CancellationToken::new();
        let tasks = TaskTracker::new();
        let registration = Registration {
            service: self.workload.service.clone(),
            instance: self.workload.instance.clone(),
            address: self.workload.advertise.unwrap_or(self.inbound_address),
            particulars: self.workload.particulars.clone(),
        };
        let left = tasks.spawn({
            let (leave, readiness) = (leave.clone(), self.readiness.clone());
            async move {
                tokio::select! {
                    () = configured => {}
                    () = leave.cancelled() => return,
                }
                if let Some(control) = control {
                    registration::keep(registration, control, serving, &readiness, leave).await;
                } else {
                    leave.cancelled().await;
                }
            }
        });
        let health = tokio::spawn(health::watch_workload(self.workload.app, serving_now));
        let (told, in_force) = watch::channel(None);
        let names = tokio::spawn(names::keep(in_force, Arc::clone(&self.plane)));
        let follow = tokio::spawn(follow(self.snapshots, Arc::clone(&self.plane), told));
        self.plane
            .tell(Command::Listen(Side::Inbound, self.inbound));
        info!(
            service = self.workload.service,
            instance = self.workload.instance,
            inbound = %self.inbound_address,
            outbound = %self.outbound_address,
            app = %self.workload.app,
            "sidecar serves"
        );

        let has_ended = tokio::select! {
            () = shutdown => false,
            () = self.plane.ended() => true,
        };
        let end = Instant::now() + grace.total;
        self.readiness.set(false);
        leave.cancel();
        let _ = timeout_at(end, left).await;
        if !has_ended {
            sleep(grace.notice.min(grace.total)).await;
            drain(&self.plane, Side::Inbound, end).await;
            drain(&self.plane, Side::Outbound, end).await;
        }
        health.abort();
        follow.abort();
        names.abort();
        tasks.close();
        let _ = timeout_at(end, tasks.wait()).await;
        if has_ended {
            anyhow::bail!(ENDED);
        }
        info!(instance = self.workload.instance, "sidecar drained");
        Ok(())
    }
}

/// Hands every configuration to the data plane, and then to `told`: what is found out for a configuration
/// that the data plane does not have yet would be lost.
async fn follow(
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    plane: Arc<Plane>,
    told: watch::Sender<Option<Arc<Snapshot>>>,
) {
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            plane.tell(Command::Configure(Arc::clone(&snapshot)));
            told.send_replace(Some(snapshot));
        }
        // Whoever sent them is gone: the last one stays in force.
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// Ends a side's connections: politely until `end`, then at once.
async fn drain(plane: &Plane, side: Side, end: Instant) {
    let (done, mut drained) = oneshot::channel();
    plane.tell(Command::Drain(side, done));
    if timeout_at(end, &mut drained).await.is_err() {
        warn!(which = side.as_str(), "grace is over, connections are cut");
        plane.tell(Command::Cut(side));
        let _ = timeout(CUT_TIMEOUT, drained).await;
    }
}

#[cfg(test)]
mod tests {
    use weft_identity::{CertificateAuthority, SpiffeId, TrustDomain};

    use super::*;

    #[tokio::test]
    async fn a_data_plane_that_panics_ends_the_sidecar_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new("panic.local").unwrap();
        let authority = CertificateAuthority::open(dir.path(), &trust_domain).unwrap();
        let id = SpiffeId::workload(&trust_domain, "shop", "echo").unwrap();
        let svid = authority.issue(&id, Duration::from_secs(60)).unwrap();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_snapshots, followed) = watch::channel(None);
        let sidecar = Sidecar::new(
            Workload {
                service: "echo".to_owned(),
                instance: "echo-1".to_owned(),
                app: "127.0.0.1:9".parse().unwrap(),
                advertise: None,
                particulars: Particulars::default(),
            },
            Listeners {
                inbound: listen().await,
                outbound: listen().await,
            },
            Identity::new(svid, authority.bundle().clone()),
            followed,
            &Metrics::new(),
        )
        .unwrap();
        let panics = |_: &mut crate::plane::Core| panic!("a bug");
        sidecar.plane.tell(Command::Ask(Box::new(panics)));
        let ran = sidecar.run(None, std::future::pending(), Grace::default());
        let ran = timeout(Duration::from_secs(5), ran).await;
        let error = ran.expect("it ends").unwrap_err();
        assert_eq!(error.to_string(), ENDED);
    }
}
