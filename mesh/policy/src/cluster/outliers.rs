//! Which endpoints are ejected, and when that is looked at.

use std::{sync::Arc, time::Instant};

use super::Cluster;
use crate::{
    outlier::{self, Detector, rates},
    slab::Id,
};

impl Cluster {
    /// Counts a failure of the endpoint, which may eject it.
    pub(crate) fn failed(&mut self, id: Id, now: Instant) {
        let target = Arc::clone(&self.target);
        let Some(settings) = &target.outlier_detection else {
            return;
        };
        let member = self.members.get_mut(id);
        if member.is_some_and(|member| member.outlier.failed(settings)) {
            self.eject(id, Detector::ConsecutiveGatewayFailure, now);
        }
    }

    /// Ejects the endpoint if that may be.
    fn eject(&mut self, id: Id, detector: Detector, now: Instant) {
        let target = Arc::clone(&self.target);
        let Some(settings) = &target.outlier_detection else {
            return;
        };
        let ejected = self.members.iter();
        let ejected = ejected.filter(|(_, member)| member.outlier.is_ejected(now));
        let may_be = outlier::may_eject(settings, ejected.count(), self.members.len());
        let member = self.members.get_mut(id);
        let Some(member) = member.filter(|member| !member.outlier.is_ejected(now)) else {
            return;
        };
        self.ejections.count(detector, may_be);
        if may_be {
            member.outlier.eject(settings, now);
            self.version += 1;
        }
    }

    /// Where an interval of outlier detection has ended, compares the rates of all endpoints.
    pub(crate) fn judge(&mut self, now: Instant) {
        let Some(settings) = &self.target.outlier_detection else {
            return;
        };
        let ended = self.intervals.ended(settings.interval, now);
        if ended == 0 {
            return;
        }
        let tallies: Vec<rates::Tally> = self
            .members
            .iter()
            .map(|(id, member)| rates::Tally {
                endpoint: id.index(),
                successes: member.outlier.successes,
                failures: member.outlier.failures,
            })
            .collect();
        let condemned = rates::condemned(settings, &tallies);
        for member in self.members.values_mut() {
            member.outlier.interval_ended(ended, now);
        }
        for (index, detector) in condemned {
            if let Some(id) = self.members.id_at(index) {
                self.eject(id, detector, now);
            }
        }
    }
}
