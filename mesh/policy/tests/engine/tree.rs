//! Retries over a whole tree of calls: edge, orders, payments, provider, and the last one is down.

use std::time::{Duration, Instant};

use weft_policy::{
    Next, Outcome, Pick, RequestFacts, code,
    retry::{Pushback, RetryMarks},
};

use crate::world::{AUTHORITY, World, retry_policy, target};

/// The engine of one hop's outbound side, and the marks its sidecar keeps.
struct Hop {
    world: World,
    marks: RetryMarks,
    calls: u32,
}

/// How a chain of hops behaves.
#[derive(Clone, Copy)]
struct Chain {
    /// The workloads hand the trace on, so that a sidecar knows which calls belong together.
    has_traces: bool,
    max_tokens: u32,
}

/// What a hop answers: the status, and whether it asks not to be tried again.
struct Answer {
    status: i32,
    pushback: Pushback,
}

impl Chain {
    fn hops(self, count: usize) -> Vec<Hop> {
        let hop = |_| {
            let mut target = target(3);
            target.methods[0].retry_policy = Some(retry_policy(4));
            target.outlier_detection = None;
            target.retry_throttling = Some(weft_model::dataplane::RetryThrottling {
                max_tokens: self.max_tokens,
                token_ratio_permille: 100,
            });
            Hop {
                world: World::with([target]),
                marks: RetryMarks::default(),
                calls: 0,
            }
        };
        (0..count).map(hop).collect()
    }
}

/// The workload before `hops[0]` makes a call; the service behind the last hop is down.
fn call(chain: Chain, hops: &mut [Hop], trace: u128, is_retry: bool, now: Instant) -> Answer {
    let Some((hop, rest)) = hops.split_first_mut() else {
        return Answer {
            status: code::UNAVAILABLE,
            pushback: Pushback::Absent,
        };
    };
    let facts = RequestFacts {
        authority: AUTHORITY,
        path: "/a.Carts/Get",
        is_retry: is_retry || (chain.has_traces && hop.marks.is_repeated(trace, now)),
        ..RequestFacts::default()
    };
    let world = &mut hop.world;
    world.now = now;
    let mut call_ = world.engine.admit(facts, now, &mut world.rng).unwrap();
    let answer = loop {
        let Pick::Attempt(attempt) = world.engine.pick(&mut call_, world.now, &mut world.rng)
        else {
            panic!("there are endpoints");
        };
        hop.calls += 1;
        let answer = serve(chain, rest, trace, attempt.previous_attempts, world.now);
        let outcome = Outcome::TrailersOnly {
            code: answer.status,
            pushback: answer.pushback,
        };
        match world.end(&mut call_, attempt, &outcome) {
            Next::RetryAt(at) => world.now = at,
            _ => break answer,
        }
    };
    let is_spent = call_.retries_are_spent();
    world.finish(call_, answer.status);
    if is_spent {
        hop.marks.spent(trace, world.now);
    }
    Answer {
        status: answer.status,
        pushback: if is_spent {
            Pushback::Stop
        } else {
            answer.pushback
        },
    }
}

/// A workload serves a call by making the next one. Its own answer carries no pushback; the sidecar adds
/// it where it has the mark.
fn serve(chain: Chain, hops: &mut [Hop], trace: u128, previous: u32, now: Instant) -> Answer {
    if previous > 0
        && let Some(hop) = hops.first_mut()
    {
        hop.marks.repeated(trace, now);
    }
    let answer = call(chain, hops, trace, false, now);
    let Some(hop) = hops.first() else {
        return answer;
    };
    let is_spent = chain.has_traces && hop.marks.is_spent(trace, hop.world.now);
    Answer {
        status: answer.status,
        pushback: if is_spent {
            Pushback::Stop
        } else {
            Pushback::Absent
        },
    }
}

/// How many calls arrive at each hop for each that the first workload makes.
fn amplification(chain: Chain, calls: u32) -> Vec<f64> {
    let mut hops = chain.hops(3);
    let mut now = Instant::now();
    for trace in 1..=calls {
        call(chain, &mut hops, trace.into(), false, now);
        now += Duration::from_secs(2);
    }
    let share = |hop: &Hop| f64::from(hop.calls) / f64::from(calls);
    hops.iter().map(share).collect()
}

#[test]
fn a_total_outage_at_the_end_of_three_hops_is_not_amplified() {
    let chain = Chain {
        has_traces: true,
        max_tokens: 100,
    };
    let shares = amplification(chain, 1000);
    assert!(shares.iter().all(|&share| share <= 1.2), "{shares:?}");
    // Only the hop before what failed repeats calls; the ones above it do not.
    assert_eq!(shares[..2], [1.0, 1.0]);
    assert!(shares[2] > 1.0);
}

#[test]
fn without_traces_the_tokens_of_each_hop_still_bound_the_sum() {
    let chain = Chain {
        has_traces: false,
        max_tokens: 100,
    };
    let shares = amplification(chain, 1000);
    assert!(shares.iter().all(|&share| share <= 1.2), "{shares:?}");
}

#[test]
fn with_few_calls_marks_keep_one_hop_from_multiplying_anothers_retries() {
    let calls = 10;
    let marked = Chain {
        has_traces: true,
        max_tokens: 1000,
    };
    let shares = amplification(marked, calls);
    // Tokens do not stop so few; four attempts at one hop are all.
    assert_eq!(shares, [1.0, 1.0, 4.0]);
    let unmarked = Chain {
        has_traces: false,
        ..marked
    };
    let shares = amplification(unmarked, calls);
    assert!(shares[2] > 10.0, "what the marks prevent: {shares:?}");
}
