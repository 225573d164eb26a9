//! What was measured, and what follows from it. It is written as JSON as it stands.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    load::Seen,
    peers::{Layout, Peer, Target},
    process::{CpuTime, CpuTimes},
    shapes::{self, Shape},
    statistics::{median, quantile},
};

/// A delay that a user notices when it hits a chain of calls.
const STALL_US: u32 = 20_000;

/// Everything of one run.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// `quick` or `full`.
    pub mode: &'static str,
    /// Rounds that were completed.
    pub rounds: usize,
    /// The processor.
    pub processor: String,
    /// What else kept the machine busy: its load when the run began.
    pub load_before: String,
    /// Versions by peer.
    pub versions: BTreeMap<&'static str, String>,
    /// The size of the binary `weft`.
    pub weft_binary_bytes: u64,
    /// What was not measured.
    pub skipped: Vec<Skipped>,
    /// What was.
    pub targets: Vec<Measured>,
    /// A minute each at the fixed rate, in a full run.
    pub minutes: Vec<Minute>,
}

/// Something that was not measured, or not to the end.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The proxy.
    pub peer: &'static str,
    /// `hop` or `pair`.
    pub layout: &'static str,
    /// Why.
    pub why: String,
}

/// One target.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What it is.
    #[serde(skip)]
    pub target: Target,
    /// The proxy.
    pub peer: &'static str,
    /// `direct`, `hop` or `pair`.
    pub layout: &'static str,
    /// Median milliseconds from start to the first call answered.
    pub first_call_ms: Option<f64>,
    /// Median milliseconds from start to the proxy saying that it is ready, if it does.
    pub ready_ms: Option<f64>,
    /// Resident memory of all its processes after the run.
    pub resident_kb: Option<u64>,
    /// By shape, in the order of [`shapes::ALL`].
    pub cells: Vec<Cell>,
}

/// One target under one load.
#[derive(Debug, Default, Serialize)]
pub struct Cell {
    /// The load.
    pub shape: &'static str,
    /// One for each round; `None` if it failed.
    pub samples: Vec<Option<Sample>>,
    /// Median CPU time of the proxies per call.
    pub cpu_us: Option<f64>,
    /// Median over rounds of the ratio of `cpu_us` to Envoy's.
    pub cpu_ratio: Option<f64>,
    /// Median over rounds of the median latency above the direct path's.
    pub added_p50_us: Option<f64>,
    /// Median over rounds of the 99th percentile above the direct path's.
    pub added_p99_us: Option<f64>,
    /// Calls that failed in all rounds.
    pub errors: u64,
}

/// One round of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Calls measured.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls per second.
    pub rate: f64,
    /// CPU time per call of each process, in the order in which calls pass them.
    pub cpu_us: Vec<f64>,
    /// Latency: half of the calls took at most this long.
    pub p50_us: u32,
    /// 99 of 100 took at most this long.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

/// A minute at the fixed rate.
#[derive(Debug, Serialize)]
pub struct Minute {
    /// The proxy.
    pub peer: &'static str,
    /// `direct` or `pair`.
    pub layout: &'static str,
    /// Calls made.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that took longer than 20 ms.
    pub stalls: usize,
    /// Latency: 99 of 100 took at most this long.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

impl Sample {
    /// From two readings of the processes' CPU times.
    pub fn new(seen: &Seen, before: &CpuTimes, after: &CpuTimes) -> Self {
        let per_call = |(before, after): (&_, &CpuTime)| {
            after.since(before).as_secs_f64() * 1e6 / seen.calls.max(1) as f64
        };
        Self {
            calls: seen.calls,
            errors: seen.errors,
            rate: seen.calls as f64 / seen.elapsed.as_secs_f64(),
            cpu_us: before.iter().zip(after).map(per_call).collect(),
            p50_us: quantile(&seen.latencies, 0.5),
            p99_us: quantile(&seen.latencies, 0.99),
            max_us: seen.latencies.last().copied().unwrap_or(0),
        }
    }

    fn cpu(&self) -> f64 {
        self.cpu_us.iter().sum()
    }
}

impl Minute {
    /// From what the client saw.
    pub fn new(target: Target, seen: &Seen) -> Self {
        let fine = seen.latencies.partition_point(|us| *us <= STALL_US);
        Self {
            peer: target.peer.name(),
            layout: target.layout.name(),
            calls: seen.calls,
            errors: seen.errors,
            stalls: seen.latencies.len() - fine,
            p99_us: quantile(&seen.latencies, 0.99),
            max_us: seen.latencies.last().copied().unwrap_or(0),
        }
    }
}

impl Measured {
    /// Nothing measured yet.
    pub fn new(target: Target) -> Self {
        let cell = |shape: &Shape| Cell {
            shape: shape.name,
            ..Cell::default()
        };
        Self {
            target,
            peer: target.peer.name(),
            layout: target.layout.name(),
            first_call_ms: None,
            ready_ms: None,
            resident_kb: None,
            cells: shapes::ALL.iter().map(cell).collect(),
        }
    }

    /// The cell at the fixed rate.
    pub fn fixed(&self) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.shape == shapes::FIXED.name)
    }
}

impl Results {
    /// The targets of a layout.
    pub fn of(&self, layout: Layout) -> impl Iterator<Item = &Measured> {
        self.targets
            .iter()
            .filter(move |measured| measured.target.layout == layout)
    }

    /// One target.
    pub fn find(&self, peer: Peer, layout: Layout) -> Option<&Measured> {
        self.of(layout)
            .find(|measured| measured.target.peer == peer)
    }

    /// Fills in what follows from the samples. Each ratio and difference is within one round: what
    /// else the machine did then, it did to both.
    pub fn conclude(&mut self) {
        for column in 0..shapes::ALL.len() {
            let direct = self.samples(Peer::Direct, Layout::Direct, column);
            let hop = self.samples(Peer::Envoy, Layout::Hop, column);
            let pair = self.samples(Peer::Envoy, Layout::Pair, column);
            for measured in &mut self.targets {
                let envoy = match measured.target.layout {
                    Layout::Direct => &[][..],
                    Layout::Hop => &hop,
                    Layout::Pair => &pair,
                };
                if let Some(cell) = measured.cells.get_mut(column) {
                    cell.conclude(&direct, envoy);
                }
            }
        }
    }

    fn samples(&self, peer: Peer, layout: Layout, column: usize) -> Vec<Option<Sample>> {
        let cell = self
            .find(peer, layout)
            .and_then(|found| found.cells.get(column));
        cell.map(|cell| cell.samples.clone()).unwrap_or_default()
    }
}

impl Cell {
    fn conclude(&mut self, direct: &[Option<Sample>], envoy: &[Option<Sample>]) {
        let samples = &self.samples;
        let beside = |others: &[Option<Sample>], of: fn(&Sample, &Sample) -> f64| {
            let pairs = samples.iter().zip(others);
            median(pairs.filter_map(|(own, other)| Some(of(own.as_ref()?, other.as_ref()?))))
        };
        self.cpu_ratio = beside(envoy, |own, envoy| own.cpu() / envoy.cpu());
        self.added_p50_us = beside(direct, |own, direct| {
            f64::from(own.p50_us) - f64::from(direct.p50_us)
        });
        self.added_p99_us = beside(direct, |own, direct| {
            f64::from(own.p99_us) - f64::from(direct.p99_us)
        });
        self.cpu_us = median(
            // The direct path has no processes.
            samples
                .iter()
                .flatten()
                .filter(|sample| !sample.cpu_us.is_empty())
                .map(Sample::cpu),
        );
        self.errors = samples.iter().flatten().map(|sample| sample.errors).sum();
    }

    /// Whether the fixed rate was not reached: latencies then only show a queue.
    pub fn saturated(&self) -> bool {
        let rate = median(self.samples.iter().flatten().map(|sample| sample.rate));
        self.shape == shapes::FIXED.name
            && rate.is_some_and(|rate| rate < 0.98 * f64::from(shapes::RATE))
    }
}
