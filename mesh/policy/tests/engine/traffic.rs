//! Calls at random instants to endpoints that take their time, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use rand::Rng as _;
use weft_policy::{Attempt, Call, Outcome, Pick, code};

use crate::world::World;

/// Calls under way, and how often each endpoint was chosen.
#[derive(Default)]
pub struct Traffic {
    open: Vec<Option<(Call, Attempt)>>,
    ends: BinaryHeap<Reverse<(Instant, usize)>>,
    pub counts: BTreeMap<u16, u32>,
}

impl Traffic {
    /// Sends `per_second` calls for a while; `takes` says how long an endpoint needs.
    pub fn run(
        &mut self,
        world: &mut World,
        length: Duration,
        per_second: f64,
        takes: impl Fn(u16) -> Duration,
    ) {
        let end = world.now + length;
        loop {
            let gap = -(1.0 - world.rng.random::<f64>()).ln() / per_second;
            let next = world.now + Duration::from_secs_f64(gap);
            self.answer(world, next.min(end));
            world.now = next.min(end);
            if next >= end {
                return;
            }
            let mut call = world.call("Add");
            let picked = world.engine.pick(&mut call, world.now, &mut world.rng);
            let Pick::Attempt(attempt) = picked else {
                panic!("no endpoint: {picked:?}");
            };
            let port = attempt.endpoint.address.port();
            *self.counts.entry(port).or_insert(0) += 1;
            let place = self.open.len();
            self.ends.push(Reverse((world.now + takes(port), place)));
            self.open.push(Some((call, attempt)));
        }
    }

    fn answer(&mut self, world: &mut World, until: Instant) {
        while let Some(&Reverse((at, place))) = self.ends.peek()
            && at <= until
        {
            self.ends.pop();
            world.now = at;
            if let Some((mut call, attempt)) = self.open[place].take() {
                world.end(&mut call, attempt, &Outcome::Headers);
                world.finish(call, code::OK);
            }
        }
    }

    /// The share of one endpoint, and the counts begin anew.
    pub fn share(&mut self, port: u16) -> f64 {
        let counts = std::mem::take(&mut self.counts);
        let total: u32 = counts.values().sum();
        f64::from(counts.get(&port).copied().unwrap_or(0)) / f64::from(total.max(1))
    }
}
