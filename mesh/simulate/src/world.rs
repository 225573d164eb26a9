//! The simulated mesh: real engines, scripted workloads, and a clock that only events move.
//!
//! [`run`] plays one case. The executor's part, as `weft_policy`'s docs describe it, is in
//! [`call`], [`attempt`] and [`outbound`]; connections and circuit breaker places in [`connect`]; health checks and names in
//! [`watch`]; what happens at a workload, its sidecar's inbound engine first, in [`workload`]. No decision is made here.

mod arrival;
mod attempt;
mod call;
mod connect;
mod outbound;
mod setup;
mod watch;
mod workload;

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use weft_model::dataplane::{Discovery, Endpoint, Locality, Target};
use weft_policy::{Engine, InboundEngine, Options, Probe, Slot, retry::RetryMarks};

use crate::{
    spec::{Behaviour, Case, Suite},
    story::{AttemptStory, CallStory, Line, Story},
    words::Spread,
};

/// A case that needs more events than this does not come to an end.
const MOST_EVENTS: u64 = 5_000_000;

/// How long a connection may take: as the sidecar has it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

type CallId = usize;
type AttemptId = usize;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An endpoint becomes something else.
    Change(usize, usize),
    /// The n-th call of a kind begins.
    Start(usize),
    /// Ask for an endpoint, if that plan still holds.
    Pick(CallId, u64),
    Hedge(CallId),
    /// The delay of an injected fault is over.
    Send(AttemptId),
    Connected(usize, SocketAddr, u64),
    TimedOut(AttemptId),
    /// A workload has done its own part.
    Worked(AttemptId),
    /// What follows response headers.
    StreamEnds(AttemptId),
    Deadline(CallId),
    /// Health checks of a proxy are due.
    Probe(usize),
    Probed(usize, Box<Asked>),
    /// A proxy resolves the names of its targets.
    Resolve(usize, String),
    Cancel(CallId),
}

impl Event {
    /// Whether it is about the mesh and not about calls: without calls it interests nobody.
    fn is_background(&self) -> bool {
        matches!(
            self,
            Self::Change(..) | Self::Probe(_) | Self::Probed(..) | Self::Resolve(..)
        )
    }
}

/// A health check and what it will come to. Events are ordered by time alone.
#[derive(Debug)]
struct Asked(Probe, bool);

impl PartialEq for Asked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Asked {}

impl PartialOrd for Asked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Asked {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// The outbound side of one sidecar.
struct Proxy {
    engine: Engine,
    /// Who it proves to be.
    identity: String,
    pools: HashMap<SocketAddr, Pool>,
    connections_made: u64,
    /// When it makes health checks next.
    probes_at: Option<Duration>,
}

/// Connections to one endpoint.
#[derive(Default)]
struct Pool {
    connections: Vec<Connection>,
    waiting: VecDeque<(AttemptId, Option<Slot>)>,
}

struct Connection {
    id: u64,
    slot: Option<Slot>,
    is_ready: bool,
    streams: u32,
}

/// One endpoint: a workload behind its sidecar.
struct Workload {
    endpoint: Endpoint,
    service: String,
    is_there: bool,
    behaviour: Behaviour,
    /// Steps of the script that are done, and how often the present one was taken.
    step: (usize, u32),
    inbound: InboundEngine,
    /// Retries at one hop only: what its sidecar remembers of traces.
    marks: RetryMarks,
    /// Of its own calls, if it makes any.
    proxy: Option<usize>,
    busy: u32,
    queue: VecDeque<AttemptId>,
    /// Requests its sidecar has accepted that are not over.
    open: u32,
}

/// One case while it runs.
struct World<'a> {
    suite: &'a Suite,
    case: &'a Case,
    base: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    /// The engines' randomness, and the endpoints' own: scripts stay the same when a policy changes.
    rng: StdRng,
    dice: StdRng,
    proxies: Vec<Proxy>,
    /// The proxy of each caller from outside, by service account and place.
    callers: BTreeMap<(String, Locality), usize>,
    workloads: Vec<Workload>,
    by_address: HashMap<SocketAddr, usize>,
    calls: Vec<call::Run>,
    /// How many calls of each kind began.
    counts: HashMap<usize, u32>,
    attempts: Vec<attempt::Try>,
    story: Story,
    is_told: bool,
    /// Whether somebody wants to know who is ejected.
    watches_ejections: bool,
    /// Events that calls wait for or come from: without any, it is over.
    lively: u64,
}

/// Plays a case to its end. `is_told`: with a line for everything that happens.
pub(crate) fn run(suite: &Suite, case: &Case, is_told: bool) -> Story {
    let mut world = World::new(suite, case, is_told);
    let mut count = 0;
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        count += 1;
        if !event.is_background() {
            world.lively -= 1;
        } else if world.lively == 0 {
            break;
        }
        if count > MOST_EVENTS {
            world.story.is_endless = true;
            break;
        }
        world.now = at;
        world.handle(event);
    }
    world.finish_story()
}

impl World<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Change(workload, change) => self.change(workload, change),
            Event::Start(kind) => self.start(kind),
            Event::Pick(call, plan) => self.pick_as_planned(call, plan),
            Event::Hedge(call) => self.hedge(call),
            Event::Send(attempt) => self.send(attempt),
            Event::Connected(proxy, address, id) => self.connected(proxy, address, id),
            Event::TimedOut(attempt) => self.timed_out(attempt),
            Event::Worked(attempt) => self.worked(attempt),
            Event::StreamEnds(attempt) => self.stream_ends(attempt),
            Event::Deadline(call) => self.deadline(call),
            Event::Probe(proxy) => self.probe(proxy),
            Event::Probed(proxy, asked) => self.probed(proxy, &asked),
            Event::Resolve(proxy, authority) => self.resolve(proxy, authority),
            Event::Cancel(call) => self.cancel(call),
        }
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.sequence += 1;
        self.lively += u64::from(!event.is_background());
        let time = time.max(self.now);
        self.events.push(Reverse((time, self.sequence, event)));
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn since_base(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.base)
    }

    fn between(&mut self, spread: Spread) -> Duration {
        if spread.low == spread.high {
            return spread.low;
        }
        self.dice.random_range(spread.low..=spread.high)
    }

    /// Writes down what happened to a call, if anybody wants to read it.
    fn tell(&mut self, call: CallId, text: impl FnOnce() -> String) {
        if self.is_told {
            self.story.lines.push(Line {
                at: self.now,
                call: Some(call),
                text: text(),
            });
        }
    }
}
