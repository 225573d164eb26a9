//! One endpoint of a target, and everything that is known about it.

use std::{sync::Arc, time::Instant};

use weft_model::dataplane::{Endpoint, HealthStatus};

use crate::{
    backoff::ConnectBackoff,
    balance::{load::Load, reports::Reports},
    cluster::view::{Health, Standing},
    health::ProbeState,
    outlier::Outlier,
};

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) load: Load,
    pub(crate) outlier: Outlier,
    pub(crate) connect: ConnectBackoff,
    pub(crate) probe: ProbeState,
    pub(crate) reports: Reports,
}

impl Member {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint.clone()),
            load: Load::default(),
            outlier: Outlier::default(),
            connect: ConnectBackoff::default(),
            probe: ProbeState::default(),
            reports: Reports::default(),
        }
    }

    pub(crate) fn health(&self, now: Instant) -> Health {
        match self.endpoint.health {
            HealthStatus::Draining => Health::Draining,
            HealthStatus::Unhealthy => Health::Unhealthy,
            HealthStatus::Healthy if self.probe.is_unhealthy() => Health::Unhealthy,
            HealthStatus::Healthy if self.outlier.is_ejected(now) => Health::Ejected,
            HealthStatus::Healthy => Health::Healthy,
        }
    }

    pub(super) fn standing(&self, index: u32, now: Instant) -> Standing {
        Standing {
            index,
            health: self.health(now),
            is_left_alone: self.connect.until(now).is_some(),
        }
    }

    /// When its standing changes by itself.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        let ends = [self.connect.until(now), self.outlier.ejected_until(now)];
        ends.into_iter().flatten().min()
    }
}
