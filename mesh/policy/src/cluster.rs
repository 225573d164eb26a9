//! The accounts of one target: its endpoints and its retry budget.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use rand::Rng;
use weft_model::dataplane::{Endpoint, Target};

use crate::{
    backoff::ConnectBackoff, balance, balance::Load, outlier, outlier::Outlier, retry::RetryBudget,
};

/// One target and what is known about its endpoints.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) target: Arc<Target>,
    pub(crate) budget: Option<RetryBudget>,
    identity: Arc<str>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    endpoint: Arc<Endpoint>,
    load: Load,
    outlier: Outlier,
    connect: ConnectBackoff,
}

/// What [`Cluster::choose`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Endpoint(Arc<Endpoint>, Arc<str>),
    /// Every endpoint refuses connections for now; the first may be tried again at this instant.
    LeftAlone(Instant),
    /// There is no endpoint.
    Empty,
}

impl Cluster {
    pub(crate) fn new(target: &Target) -> Self {
        let mut cluster = Self {
            identity: target.identity.as_str().into(),
            target: Arc::new(target.clone()),
            budget: target.retry_throttling.clone().map(RetryBudget::new),
            members: Vec::new(),
        };
        cluster.set_members();
        cluster
    }

    /// Takes a new version of the target; endpoints and budget that stay keep their accounts.
    pub(crate) fn update(&mut self, target: &Target) {
        if *self.target == *target {
            return;
        }
        self.identity = target.identity.as_str().into();
        self.target = Arc::new(target.clone());
        if self.budget.as_ref().map(RetryBudget::settings) != target.retry_throttling.as_ref() {
            self.budget = target.retry_throttling.clone().map(RetryBudget::new);
        }
        self.set_members();
    }

    fn set_members(&mut self) {
        let mut old = std::mem::take(&mut self.members);
        for endpoint in &self.target.endpoints {
            let known = old.iter().position(|member| *member.endpoint == *endpoint);
            self.members.push(match known {
                Some(index) => old.swap_remove(index),
                None => Member {
                    endpoint: Arc::new(endpoint.clone()),
                    load: Load::default(),
                    outlier: Outlier::default(),
                    connect: ConnectBackoff::default(),
                },
            });
        }
    }

    /// Chooses an endpoint, by preference: one that is well and not in `avoid`; one that is well; one
    /// that is ejected (where all are, leaving out all would help nobody).
    pub(crate) fn choose(
        &self,
        avoid: &[SocketAddr],
        now: Instant,
        rng: &mut (impl Rng + ?Sized),
    ) -> Choice {
        let connectable: Vec<usize> = (0..self.members.len())
            .filter(|&index| self.members[index].connect.until(now).is_none())
            .collect();
        let healthy = self.only(&connectable, |member| !member.outlier.is_ejected(now));
        let fresh = self.only(&healthy, |member| !avoid.contains(&member.endpoint.address));
        let candidates = [fresh, healthy, connectable]
            .into_iter()
            .find(|candidates| !candidates.is_empty())
            .unwrap_or_default();
        if let Some(index) = balance::pick(&candidates, |index| &self.members[index].load, rng) {
            let endpoint = Arc::clone(&self.members[index].endpoint);
            return Choice::Endpoint(endpoint, Arc::clone(&self.identity));
        }
        match self
            .members
            .iter()
            .filter_map(|member| member.connect.until(now))
            .min()
        {
            Some(until) => Choice::LeftAlone(until),
            None => Choice::Empty,
        }
    }

    fn only(&self, indices: &[usize], keep: impl Fn(&Member) -> bool) -> Vec<usize> {
        let mut kept = indices.to_vec();
        kept.retain(|&index| keep(&self.members[index]));
        kept
    }

    /// Whether some endpoint that may be tried now is not in `avoid`.
    pub(crate) fn has_other(&self, avoid: &[SocketAddr], now: Instant) -> bool {
        self.members.iter().any(|member| {
            member.connect.until(now).is_none() && !avoid.contains(&member.endpoint.address)
        })
    }

    pub(crate) fn started(&mut self, endpoint: &Endpoint) {
        self.with(endpoint, |member| member.load.started());
    }

    pub(crate) fn ended(&mut self, endpoint: &Endpoint) {
        self.with(endpoint, |member| member.load.ended());
    }

    pub(crate) fn answered(
        &mut self,
        endpoint: &Endpoint,
        latency: std::time::Duration,
        now: Instant,
    ) {
        self.with(endpoint, |member| {
            member.load.observe(latency, now);
            member.outlier.succeeded();
            member.connect.succeeded();
        });
    }

    pub(crate) fn refused(
        &mut self,
        endpoint: &Endpoint,
        now: Instant,
        rng: &mut (impl Rng + ?Sized),
    ) {
        self.with(endpoint, |member| member.connect.failed(now, rng));
    }

    /// Counts a failure of the endpoint, which may eject it.
    pub(crate) fn failed(&mut self, endpoint: &Endpoint, now: Instant) {
        let target = Arc::clone(&self.target);
        let Some(settings) = &target.outlier_detection else {
            return;
        };
        let ejected = self
            .members
            .iter()
            .filter(|member| member.outlier.is_ejected(now));
        let may_eject = outlier::may_eject(settings, ejected.count(), self.members.len());
        self.with(endpoint, |member| {
            member.outlier.failed(settings, now, may_eject);
        });
    }

    /// The endpoint may have gone meanwhile: then there is no account to keep.
    fn with(&mut self, endpoint: &Endpoint, change: impl FnOnce(&mut Member)) {
        let mut members = self.members.iter_mut();
        if let Some(member) = members.find(|member| *member.endpoint == *endpoint) {
            change(member);
        }
    }
}
