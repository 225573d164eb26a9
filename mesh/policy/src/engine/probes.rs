//! Active health checks: what the executor should ask, and what it was told.
//!
//! A target is probed once it was called: every sidecar knows every target, and one that never calls it
//! has no use for its health, nor mostly the right to ask.

use std::{sync::Arc, time::Instant};

use crate::{engine::Engine, health::Probe};

impl Engine {
    /// The probes to make now. Each one's result is told by [`Self::probed`].
    pub fn probes_due(&mut self, now: Instant) -> Vec<Probe> {
        let mut probes = Vec::new();
        let ids: Vec<_> = self.clusters.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(cluster) = self.clusters.get_mut(id) else {
                continue;
            };
            let target = Arc::clone(&cluster.target);
            let Some(settings) = target.health_check.as_ref().filter(|_| cluster.is_used) else {
                continue;
            };
            let due = cluster.members.iter();
            let due = due.filter(|(_, member)| member.probe.is_due(now));
            let due: Vec<_> = due.map(|(member, _)| member).collect();
            for member_id in due {
                let Some(member) = cluster.members.get_mut(member_id) else {
                    continue;
                };
                member.probe.began(settings, now);
                probes.push(Probe {
                    endpoint: Arc::clone(&member.endpoint),
                    identity: cluster.identity.clone(),
                    target: Arc::clone(&cluster.authority),
                    service_name: settings.service_name.as_str().into(),
                    timeout: settings.timeout,
                    cluster: id,
                    member: member_id,
                });
            }
        }
        probes
    }

    /// What a probe came to. `true`: the endpoint answered `SERVING`.
    pub fn probed(&mut self, probe: &Probe, is_healthy: bool, now: Instant) {
        let Some(cluster) = self.clusters.get_mut(probe.cluster) else {
            return;
        };
        let target = Arc::clone(&cluster.target);
        let (Some(settings), Some(member)) = (&target.health_check, cluster.member(probe.member))
        else {
            return;
        };
        if member.probe.ended(settings, is_healthy, now) {
            cluster.health_changed();
        }
    }

    /// When [`Self::probes_due`] has something next. `None`: nothing is probed.
    pub fn next_probe_at(&self, now: Instant) -> Option<Instant> {
        let clusters = self.clusters.iter().map(|(_, cluster)| cluster);
        let probed =
            clusters.filter(|cluster| cluster.is_used && cluster.target.health_check.is_some());
        let members = probed.flat_map(|cluster| cluster.members.iter());
        members
            .map(|(_, member)| member.probe.next_at().unwrap_or(now))
            .min()
    }
}
