//! The outbound side, which is there before the rest of a sidecar.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::{net::TcpListener, sync::watch};
use weft_identity::Identity;
use weft_model::dataplane::{Locality, Snapshot};
use weft_policy::Options;
use weft_runtime::{admin::Readiness, metrics::Metrics};

use crate::{
    Sidecar, Workload,
    metrics::PlaneCollector,
    pages::Pages,
    plane::{Command, Plane, Side},
    sidecar::ENDED,
};

/// The outbound side alone, before there is a certificate: calls are held back for a moment, then
/// refused with `NO_IDENTITY`.
pub(crate) struct Outbound {
    plane: Arc<Plane>,
    address: SocketAddr,
}

impl Outbound {
    pub(crate) fn open(
        listener: TcpListener,
        app: SocketAddr,
        locality: Locality,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let options = Options {
            locality,
            process: rand::random(),
        };
        let plane = Plane::start(app, &options).context("cannot start the data plane")?;
        plane.tell(Command::Listen(Side::Outbound, listener.into_std()?));
        Ok(Self {
            plane: Arc::new(plane),
            address,
        })
    }

    /// Completes with an error if the data plane ends.
    pub(crate) async fn ended(&self) -> anyhow::Error {
        self.plane.ended().await;
        anyhow::anyhow!(ENDED)
    }

    /// As [`Sidecar::pages`].
    pub(crate) fn pages(&self, inbound: SocketAddr) -> axum::Router {
        let pages = Pages {
            plane: Arc::downgrade(&self.plane),
            inbound,
            outbound: self.address,
        };
        pages.router()
    }

    pub(crate) fn into_sidecar(
        self,
        workload: Workload,
        inbound: TcpListener,
        identity: Arc<Identity>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Sidecar> {
        metrics.register_collector(PlaneCollector {
            plane: Arc::downgrade(&self.plane),
            service: workload.service.clone(),
        });
        self.plane.tell(Command::Identify(identity));
        Ok(Sidecar {
            workload,
            inbound_address: inbound.local_addr()?,
            inbound: inbound.into_std()?,
            outbound_address: self.address,
            plane: self.plane,
            snapshots,
            readiness: Readiness::default(),
        })
    }
}
