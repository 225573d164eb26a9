//! Active health checks: when an endpoint is probed, and what the answers make of it.
//!
//! Endpoints are healthy until probes say otherwise: a workload registers when it answers health checks,
//! and holding a new one back until a first probe would keep it from its first second of calls. Probes
//! themselves, `grpc.health.v1.Health/Check` over the connections calls use, are the executor's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use weft_model::dataplane::{Endpoint, HealthCheck};

use crate::slab::Id;

/// A probe to be made.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Whom to ask.
    pub endpoint: Arc<Endpoint>,
    /// As [`crate::Attempt::identity`].
    pub identity: Option<Arc<str>>,
    /// The target it belongs to.
    pub target: Arc<str>,
    /// The `service` in the request.
    pub service_name: Arc<str>,
    /// Without an answer by then it has failed.
    pub timeout: Duration,
    pub(crate) cluster: Id,
    pub(crate) member: Id,
}

/// What probes of one endpoint came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeState {
    is_unhealthy: bool,
    /// Results in a row that speak against the present opinion.
    contrary: u32,
    /// When the next probe is due. `None`: now.
    next_at: Option<Instant>,
}

impl ProbeState {
    pub(crate) fn is_unhealthy(&self) -> bool {
        self.is_unhealthy
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next_at.is_none_or(|at| at <= now)
    }

    /// A probe is made now. Should its result never be told, another is due after its timeout.
    pub(crate) fn began(&mut self, settings: &HealthCheck, now: Instant) {
        self.next_at = now.checked_add(settings.timeout.max(settings.interval));
    }

    /// Takes a result; says whether it changes what the endpoint is.
    pub(crate) fn ended(&mut self, settings: &HealthCheck, is_healthy: bool, now: Instant) -> bool {
        self.next_at = now.checked_add(settings.interval);
        if is_healthy != self.is_unhealthy {
            self.contrary = 0;
            return false;
        }
        self.contrary += 1;
        let needed = match is_healthy {
            true => settings.healthy_threshold,
            false => settings.unhealthy_threshold,
        };
        if self.contrary < needed {
            return false;
        }
        self.contrary = 0;
        self.is_unhealthy = !is_healthy;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_many_results_in_a_row_as_the_thresholds_say() {
        let settings = HealthCheck {
            service_name: String::new(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 2,
            healthy_threshold: 3,
        };
        let now = Instant::now();
        let mut state = ProbeState::default();
        assert!(state.is_due(now) && !state.is_unhealthy());
        let results = [
            (false, false),
            (true, false),
            (false, false),
            (false, true),
            (true, true),
            (true, true),
            (false, true),
            (true, true),
            (true, true),
            (true, false),
        ];
        for (n, (is_healthy, unhealthy_after)) in results.into_iter().enumerate() {
            state.ended(&settings, is_healthy, now);
            assert_eq!(state.is_unhealthy(), unhealthy_after, "result {n}");
        }
        assert!(!state.is_due(now + Duration::from_secs(4)));
        assert!(state.is_due(now + Duration::from_secs(5)));
    }
}
