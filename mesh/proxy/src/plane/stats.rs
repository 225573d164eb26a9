//! What the data plane counts. Numbers of one thread, read by asking it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use weft_runtime::metrics::CALL_SECONDS;

use super::link::Side;

/// Calls that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row(u32);

/// What the calls of a row have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) side: Side,
    /// `package.Service/Method`, one that the contracts know, or `other`.
    pub(crate) method: Arc<str>,
    /// Outbound the target, inbound the caller.
    pub(crate) peer: Arc<str>,
}

/// Durations by bucket, as [`CALL_SECONDS`] bounds them; the last one is above all bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    pub(crate) buckets: [u64; CALL_SECONDS.len() + 1],
    pub(crate) seconds: f64,
}

impl Durations {
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, others) in self.buckets.iter_mut().zip(other.buckets) {
            *own += others;
        }
        self.seconds += other.seconds;
    }

    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = CALL_SECONDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket] += 1;
        self.seconds += seconds;
    }
}

/// Durations by gRPC status. Few of the seventeen occur.
pub(crate) type ByStatus = Vec<(i32, Durations)>;

fn observe(by_status: &mut ByStatus, status: i32, took: Duration) {
    let found = by_status.iter().position(|(other, _)| *other == status);
    let at = found.unwrap_or_else(|| {
        by_status.push((status, Durations::default()));
        by_status.len() - 1
    });
    by_status[at].1.observe(took);
}

/// The counts of one row.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) labels: Labels,
    pub(crate) started: u64,
    pub(crate) calls: ByStatus,
    pub(crate) attempts_started: u64,
    pub(crate) attempts: ByStatus,
    pub(crate) retries: u64,
    pub(crate) transparent_retries: u64,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) rows: Vec<Counts>,
    index: HashMap<Labels, u32, RandomState>,
    /// The labels of methods that contracts know, by path.
    methods: HashMap<Box<str>, Arc<str>, RandomState>,
    /// Connections refused before any request, by reason.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Connections closed for breaking HTTP/2 or a limit, by reason.
    pub(crate) violations: Vec<(&'static str, u64)>,
}

impl Stats {
    /// Takes the methods that the contracts know, as paths.
    pub(crate) fn know<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        self.methods = paths
            .map(|path| (path.into(), path.trim_start_matches('/').into()))
            .collect();
    }

    /// The row of calls with this path.
    pub(crate) fn row(&mut self, side: Side, path: &str, peer: &Arc<str>) -> Row {
        let method = self.methods.get(path);
        let labels = Labels {
            side,
            method: method.map_or_else(|| "other".into(), Arc::clone),
            peer: Arc::clone(peer),
        };
        if let Some(&row) = self.index.get(&labels) {
            return Row(row);
        }
        let row = self.rows.len() as u32;
        self.index.insert(labels.clone(), row);
        self.rows.push(Counts {
            labels,
            started: 0,
            calls: Vec::new(),
            attempts_started: 0,
            attempts: Vec::new(),
            retries: 0,
            transparent_retries: 0,
        });
        Row(row)
    }

    pub(crate) fn started(&mut self, row: Row) {
        self.with(row, |counts| counts.started += 1);
    }

    pub(crate) fn ended(&mut self, row: Row, status: i32, took: Duration) {
        self.with(row, |counts| observe(&mut counts.calls, status, took));
    }

    pub(crate) fn attempt_started(&mut self, row: Row) {
        self.with(row, |counts| counts.attempts_started += 1);
    }

    pub(crate) fn attempt_ended(&mut self, row: Row, status: i32, took: Duration) {
        self.with(row, |counts| observe(&mut counts.attempts, status, took));
    }

    pub(crate) fn repeated(&mut self, row: Row, retries: u32, transparent: u32) {
        self.with(row, |counts| {
            counts.retries += u64::from(retries);
            counts.transparent_retries += u64::from(transparent);
        });
    }

    /// A connection was refused, or closed for what its peer did.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        count(&mut self.refused, reason);
    }

    pub(crate) fn violation(&mut self, reason: &'static str) {
        count(&mut self.violations, reason);
    }

    fn with(&mut self, row: Row, change: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.rows.get_mut(row.0 as usize) {
            change(counts);
        }
    }
}

fn count(counts: &mut Vec<(&'static str, u64)>, reason: &'static str) {
    match counts.iter_mut().find(|(other, _)| *other == reason) {
        Some((_, count)) => *count += 1,
        None => counts.push((reason, 1)),
    }
}
