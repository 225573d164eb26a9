//! Balancing per request: which of the endpoints that may take a call gets it.
//!
//! A `Balancer` belongs to one level of a cluster (endpoints of equal priority and distance). It is
//! given the endpoints of the level that may be used now and chooses one:
//!
//! - least request ([`load`]): the cheaper of two random ones, by requests under way and latency
//! - round robin, and weighted round robin by what endpoints report ([`stride`], [`reports`])
//! - ring hash ([`ring`])
//! - pick first: one for all calls, until it may not be used
//!
//! None of them makes a list or takes memory per call.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngCore};
use weft_model::dataplane::LoadBalancing;

pub mod load;
pub mod reports;
pub mod ring;
pub mod stride;

use self::{load::Load, reports::Reports, ring::Ring, stride::Stride};

/// How often the weights of weighted round robin follow the reports (gRFC A58's
/// `weight_update_period`).
const WEIGHT_UPDATE_PERIOD: Duration = Duration::from_secs(1);

/// How one level's endpoints are chosen from, and what has to be remembered for it.
#[derive(Debug)]
pub(crate) enum Balancer {
    LeastRequest,
    RoundRobin { next: Option<u32> },
    Weighted(Weighted),
    Ring(Ring),
    PickFirst { current: Option<u32> },
}

/// Weighted round robin.
#[derive(Debug)]
pub(crate) struct Weighted {
    blackout: Duration,
    expiration: Duration,
    stride: Stride,
    /// When the weights were last looked at.
    updated: Option<Instant>,
}

/// What a balancer knows of an endpoint.
pub(crate) struct Candidate<'a> {
    pub(crate) load: &'a Load,
    pub(crate) reports: &'a Reports,
    pub(crate) weight: u32,
}

impl Balancer {
    /// A balancer over `members`: their numbers, addresses and weights.
    pub(crate) fn new(policy: &LoadBalancing, members: &[(u32, String, u32)]) -> Self {
        match policy {
            LoadBalancing::LeastRequest => Self::LeastRequest,
            LoadBalancing::RoundRobin => Self::RoundRobin { next: None },
            LoadBalancing::WeightedRoundRobin {
                blackout_period,
                expiration_period,
                ..
            } => Self::Weighted(Weighted {
                blackout: *blackout_period,
                expiration: *expiration_period,
                stride: Stride::default(),
                updated: None,
            }),
            LoadBalancing::RingHash {
                minimum_ring_size,
                maximum_ring_size,
                ..
            } => Self::Ring(Ring::new(members, *minimum_ring_size, *maximum_ring_size)),
            LoadBalancing::PickFirst => Self::PickFirst { current: None },
        }
    }

    /// The usable endpoints are others than before.
    pub(crate) fn candidates_changed(&mut self) {
        if let Self::Weighted(weighted) = self {
            weighted.updated = None;
        }
    }

    /// Chooses one of `candidates`, which are in ascending order. `None` if there is none.
    pub(crate) fn pick<'a>(
        &mut self,
        candidates: &[u32],
        hash: Option<u64>,
        member: impl Fn(u32) -> Option<Candidate<'a>>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Option<u32> {
        if candidates.len() <= 1 && !matches!(self, Self::PickFirst { .. }) {
            return candidates.first().copied();
        }
        match self {
            Self::LeastRequest => {
                load::pick(candidates, |index| member(index).map(|c| c.load), now, rng)
            }
            Self::RoundRobin { next } => {
                let len = candidates.len() as u32;
                // Every proxy begins elsewhere, or all would send their first call to the same endpoint.
                let place = next.unwrap_or_else(|| rng.random_range(0..len));
                *next = Some(place.wrapping_add(1));
                candidates.get((place % len) as usize).copied()
            }
            Self::Weighted(weighted) => weighted.pick(candidates, member, now, rng),
            Self::Ring(ring) => {
                let hash = hash.unwrap_or_else(|| rng.random());
                ring.pick(hash, |index| candidates.binary_search(&index).is_ok())
            }
            Self::PickFirst { current } => {
                let kept = current.filter(|index| candidates.binary_search(index).is_ok());
                *current = kept.or_else(|| random(candidates, rng));
                *current
            }
        }
    }
}

impl Weighted {
    fn pick<'a>(
        &mut self,
        candidates: &[u32],
        member: impl Fn(u32) -> Option<Candidate<'a>>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Option<u32> {
        let is_old = self
            .updated
            .is_none_or(|at| now.saturating_duration_since(at) >= WEIGHT_UPDATE_PERIOD);
        if is_old || self.stride.len() != candidates.len() {
            self.updated = Some(now);
            let weights: Vec<f64> = candidates
                .iter()
                .map(|&index| {
                    let member = member(index)?;
                    member.reports.weight(now, self.blackout, self.expiration)
                })
                .map(|weight| weight.unwrap_or(0.0))
                .collect();
            // gRFC A58: with fewer than two known weights there is nothing to compare.
            if weights.iter().filter(|&&weight| weight > 0.0).count() >= 2 {
                self.stride.set(&weights, rng);
            } else {
                let configured = candidates
                    .iter()
                    .map(|&index| member(index).map_or(1, |c| c.weight));
                let configured: Vec<f64> = configured.map(f64::from).collect();
                self.stride.set(&configured, rng);
            }
        }
        candidates.get(self.stride.turn()?).copied()
    }
}

pub(crate) fn random(candidates: &[u32], rng: &mut dyn RngCore) -> Option<u32> {
    match candidates {
        [] => None,
        [only] => Some(*only),
        _ => candidates
            .get(rng.random_range(0..candidates.len()))
            .copied(),
    }
}
