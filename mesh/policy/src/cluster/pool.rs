//! The endpoints of one subset, in levels, each with its balancer.

use std::time::Instant;

use rand::{Rng as _, RngCore};
use weft_model::dataplane::{Endpoint, LoadBalancing, Locality, Target};

use crate::{
    balance::{Balancer, Candidate},
    cluster::{
        Member,
        view::{LevelView, View, distance},
    },
    slab::{Id, Slab},
};

/// Endpoints that calls choose from. It is made anew when endpoints come or go.
#[derive(Debug)]
pub(crate) struct Pool {
    levels: Vec<Level>,
    view: View,
    /// Pick first never spreads calls over levels.
    takes_first_level: bool,
}

#[derive(Debug)]
struct Level {
    /// Ascending.
    members: Vec<u32>,
    balancer: Balancer,
}

impl Pool {
    /// The pools of a target: all endpoints, then each subset.
    pub(crate) fn all(target: &Target, members: &Slab<Member>, own: &Locality) -> Vec<Self> {
        let mut pools = vec![Self::of(target, members, own, |_| true)];
        for labels in target.subsets.values() {
            pools.push(Self::of(target, members, own, |endpoint| {
                let has = |(name, value)| endpoint.labels.get(name) == Some(value);
                labels.iter().all(has)
            }));
        }
        pools
    }

    fn of(
        target: &Target,
        members: &Slab<Member>,
        own: &Locality,
        selects: impl Fn(&Endpoint) -> bool,
    ) -> Self {
        let mut ranked: Vec<((u32, u32), u32)> = members
            .iter()
            .filter(|(_, member)| selects(&member.endpoint))
            .map(|(id, member)| {
                let endpoint = &member.endpoint;
                let rank = (endpoint.priority, distance(own, &endpoint.locality));
                (rank, id.index())
            })
            .collect();
        ranked.sort_unstable();
        let levels = ranked.chunk_by(|(one, _), (other, _)| one == other);
        let level = |ranked: &[((u32, u32), u32)]| {
            let indices: Vec<u32> = ranked.iter().map(|&(_, index)| index).collect();
            let described: Vec<(u32, String, u32)> = indices
                .iter()
                .filter_map(|&index| {
                    let endpoint = &members.at(index)?.endpoint;
                    Some((index, endpoint.address.to_string(), endpoint.weight))
                })
                .collect();
            Level {
                balancer: Balancer::new(&target.load_balancing, &described),
                members: indices,
            }
        };
        Self {
            levels: levels.map(level).collect(),
            view: View::default(),
            takes_first_level: target.load_balancing == LoadBalancing::PickFirst,
        }
    }

    /// Every endpoint.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.levels
            .iter()
            .flat_map(|level| level.members.iter().copied())
    }

    /// Makes the view anew if it is of another version of the cluster, or its time has passed.
    pub(crate) fn refresh(
        &mut self,
        version: u64,
        members: &Slab<Member>,
        panic_threshold: u32,
        now: Instant,
    ) {
        let is_over = self.view.until.is_some_and(|until| until <= now);
        if self.view.version == version && !is_over {
            return;
        }
        let standing = |&index: &u32| members.at(index).map(|member| member.standing(index, now));
        let standings: Vec<Vec<_>> = self
            .levels
            .iter()
            .map(|level| level.members.iter().filter_map(standing).collect())
            .collect();
        let ends = self
            .indices()
            .filter_map(|index| members.at(index)?.changes_at(now));
        let until = ends.min();
        let mut levels = View::of(&standings, panic_threshold);
        if self.takes_first_level {
            take_first(&mut levels);
        }
        for ((level, new), old) in self.levels.iter_mut().zip(&levels).zip(&self.view.levels) {
            if new.usable != old.usable {
                level.balancer.candidates_changed();
            }
        }
        self.view = View {
            levels,
            version,
            until,
        };
    }

    /// Chooses one of the endpoints that may be used.
    pub(crate) fn pick(
        &mut self,
        hash: Option<u64>,
        members: &Slab<Member>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Option<u32> {
        let percent = match self.view.levels.first()?.up_to {
            100 => 0,
            _ => rng.random_range(0..100),
        };
        let place = self.view.level(percent)?;
        let usable = &self.view.levels.get(place)?.usable;
        let balancer = &mut self.levels.get_mut(place)?.balancer;
        balancer.pick(usable, hash, |index| candidate(members, index), now, rng)
    }

    /// As [`Self::pick`], leaving out `avoid`; the level drawn first, then the others in order.
    pub(crate) fn pick_other(
        &mut self,
        avoid: &[Id],
        hash: Option<u64>,
        members: &Slab<Member>,
        scratch: &mut Vec<u32>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Option<u32> {
        let drawn = self.view.level(rng.random_range(0..100))?;
        for place in std::iter::once(drawn).chain(0..self.levels.len()) {
            let usable = &self.view.levels.get(place)?.usable;
            scratch.clear();
            scratch.extend(
                usable
                    .iter()
                    .filter(|&&index| is_other(members, avoid, index)),
            );
            if scratch.is_empty() {
                continue;
            }
            return match &mut self.levels.get_mut(place)?.balancer {
                // Both remember whom they chose from; a retry must not change that for other calls.
                Balancer::Weighted(_) | Balancer::PickFirst { .. } => {
                    crate::balance::random(scratch, rng)
                }
                balancer => {
                    balancer.pick(scratch, hash, |index| candidate(members, index), now, rng)
                }
            };
        }
        None
    }

    /// Whether an endpoint may be used that is not in `avoid`.
    pub(crate) fn has_other(&self, avoid: &[Id], members: &Slab<Member>) -> bool {
        let mut usable = self.view.levels.iter().flat_map(|level| &level.usable);
        usable.any(|&index| is_other(members, avoid, index))
    }
}

fn is_other(members: &Slab<Member>, avoid: &[Id], index: u32) -> bool {
    members.id_at(index).is_some_and(|id| !avoid.contains(&id))
}

fn candidate(members: &Slab<Member>, index: u32) -> Option<Candidate<'_>> {
    members.at(index).map(|member| Candidate {
        load: &member.load,
        reports: &member.reports,
        weight: member.endpoint.weight,
    })
}

/// All calls go to the first level that has somebody.
fn take_first(levels: &mut [LevelView]) {
    let first = levels.iter().position(|level| !level.usable.is_empty());
    for (place, level) in levels.iter_mut().enumerate() {
        level.up_to = if first.is_some_and(|first| place >= first) {
            100
        } else {
            0
        };
    }
}
