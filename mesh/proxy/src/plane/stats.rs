//! What the data plane counts. Numbers of one thread, read by asking it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use weft_channel::messages::{Messages, Traffic};
use weft_policy::{DecisionRecord, code};
use weft_runtime::metrics::calls::OTHER;

use super::{
    exchange::Exchange,
    histogram::{BYTES, Durations, NANOSECONDS, Sizes},
    kind::Side,
};

type Map<K, V> = HashMap<K, V, RandomState>;

/// Calls that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row(u32);

/// What the calls of a row have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) side: Side,
    /// `package.Service/Method`, one that the contracts know, or [`OTHER`].
    pub(crate) method: Arc<str>,
    /// Outbound the target, inbound the caller.
    pub(crate) peer: Arc<str>,
}

/// Calls of a row, or attempts, that ended alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndedAlike {
    pub(crate) status: i32,
    /// They left in cleartext, for a target outside the mesh.
    pub(crate) is_cleartext: bool,
    pub(crate) durations: Durations,
    /// Of their requests, of their answers.
    pub(crate) messages: [u64; 2],
    /// What these had together in each call.
    pub(crate) sizes: [Sizes; 2],
}

impl EndedAlike {
    pub(crate) fn add(&mut self, other: &Self) {
        self.durations.add(&other.durations);
        for way in 0..2 {
            self.messages[way] += other.messages[way];
            self.sizes[way].add(&other.sizes[way]);
        }
    }
}

/// Few of the seventeen statuses occur, and none besides: a workload may answer with any number.
fn note(
    all: &mut Vec<EndedAlike>,
    (status, is_cleartext): (i32, bool),
    took: Duration,
    traffic: [Traffic; 2],
) {
    let status = code::known(status);
    let is_like = |other: &EndedAlike| (other.status, other.is_cleartext) == (status, is_cleartext);
    let at = all.iter().position(is_like).unwrap_or_else(|| {
        all.push(EndedAlike {
            status,
            is_cleartext,
            ..EndedAlike::default()
        });
        all.len() - 1
    });
    let alike = &mut all[at];
    alike.durations.observe(&NANOSECONDS, nanoseconds(took));
    for (way, Traffic { messages, bytes }) in traffic.into_iter().enumerate() {
        alike.messages[way] += messages;
        alike.sizes[way].observe(&BYTES, bytes);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The counts of one row.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) labels: Labels,
    pub(crate) started: u64,
    pub(crate) calls: Vec<EndedAlike>,
    pub(crate) attempts_started: u64,
    pub(crate) attempts: Vec<EndedAlike>,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
    pub(crate) transparent_retries: u64,
    /// How long calls that were repeated had no attempt under way.
    pub(crate) retry_delay: Durations,
}

impl Counts {
    fn new(labels: Labels) -> Self {
        Self {
            labels,
            started: 0,
            calls: Vec::new(),
            attempts_started: 0,
            attempts: Vec::new(),
            retries: 0,
            hedges: 0,
            transparent_retries: 0,
            retry_delay: Durations::default(),
        }
    }
}

/// A method's label and the rows it has, inbound and outbound, by peer.
#[derive(Clone, Debug)]
struct Method {
    label: Arc<str>,
    rows: [Map<Arc<str>, u32>; 2],
}

impl Method {
    fn new(label: Arc<str>) -> Self {
        Self {
            label,
            rows: Default::default(),
        }
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::new(OTHER.into())
    }
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) rows: Vec<Counts>,
    index: Map<Labels, u32>,
    /// The methods that contracts know, by path.
    methods: Map<Box<str>, Method>,
    /// All others.
    others: Method,
    /// Connections refused before any request, by reason.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Connections closed for breaking HTTP/2 or a limit, by reason.
    pub(crate) violations: Vec<(&'static str, u64)>,
}

impl Stats {
    /// Takes the methods that the contracts know, as paths.
    pub(crate) fn know<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        self.methods = paths
            .map(|path| {
                (
                    path.into(),
                    Method::new(path.trim_start_matches('/').into()),
                )
            })
            .collect();
    }

    /// The row of calls with this path.
    pub(crate) fn row(&mut self, side: Side, path: &str, peer: &Arc<str>) -> Row {
        let method = self.methods.get_mut(path).unwrap_or(&mut self.others);
        let known = &mut method.rows[side as usize];
        if let Some(&row) = known.get(peer) {
            return Row(row);
        }
        let labels = Labels {
            side,
            method: Arc::clone(&method.label),
            peer: Arc::clone(peer),
        };
        // A method that comes back with another configuration goes on counting.
        let row = *self.index.entry(labels).or_insert_with_key(|labels| {
            self.rows.push(Counts::new(labels.clone()));
            (self.rows.len() - 1) as u32
        });
        known.insert(Arc::clone(peer), row);
        Row(row)
    }

    pub(crate) fn started(&mut self, row: Row) {
        self.with(row, |counts| counts.started += 1);
    }

    /// A call is over: with which status, and whether it left in cleartext.
    pub(crate) fn ended(
        &mut self,
        row: Row,
        kind: (i32, bool),
        took: Duration,
        traffic: [Traffic; 2],
    ) {
        self.with(row, |counts| note(&mut counts.calls, kind, took, traffic));
    }

    pub(crate) fn attempt_started(&mut self, row: Row) {
        self.with(row, |counts| counts.attempts_started += 1);
    }

    /// An attempt is over. It is counted once, an inbound one never: the workload is asked once.
    pub(crate) fn attempt_ended(
        &mut self,
        exchange: &mut Exchange,
        index: usize,
        status: i32,
        now: Instant,
    ) {
        let Some(attempt) = exchange.attempts.get_mut(index) else {
            return;
        };
        if std::mem::replace(&mut attempt.is_counted, true) {
            return;
        }
        let took = now.saturating_duration_since(attempt.started);
        let [requests, answers] = exchange.messages.map(Messages::traffic);
        let is_answered = exchange.committed == Some(index);
        let traffic = [
            requests.of(attempt.sent as u64),
            if is_answered {
                answers
            } else {
                Traffic::default()
            },
        ];
        self.with(exchange.row, |counts| {
            note(&mut counts.attempts, (status, false), took, traffic);
        });
    }

    /// An outbound call is over. `idle`: how long no attempt was under way after the first had begun.
    pub(crate) fn repeated(&mut self, row: Row, record: &DecisionRecord, idle: Duration) {
        if record.attempts <= 1 && record.transparent_retries == 0 {
            return;
        }
        self.with(row, |counts| {
            counts.retries += u64::from(record.retries());
            counts.hedges += u64::from(record.hedges);
            counts.transparent_retries += u64::from(record.transparent_retries);
            counts.retry_delay.observe(&NANOSECONDS, nanoseconds(idle));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_nobody_has_defined_are_counted_as_unknown() {
        let mut all = Vec::new();
        for status in [2, 17, 99, -1, i32::MAX] {
            note(
                &mut all,
                (status, false),
                Duration::ZERO,
                [Traffic::default(); 2],
            );
        }
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].status, all[0].durations.count()), (2, 5));
    }

    #[test]
    fn a_method_has_a_row_for_each_side_and_peer_whatever_is_configured_since() {
        let mut stats = Stats::default();
        stats.know(["/a.B/C"].into_iter());
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let row = stats.row(Side::Inbound, "/a.B/C", &one);
        assert_eq!(stats.row(Side::Inbound, "/a.B/C", &"one".into()), row);
        assert_ne!(stats.row(Side::Inbound, "/a.B/C", &other), row);
        assert_ne!(stats.row(Side::Outbound, "/a.B/C", &one), row);
        let unknown = stats.row(Side::Inbound, "/x.Y/1", &one);
        assert_eq!(stats.row(Side::Inbound, "/x.Y/2", &one), unknown);
        assert_eq!(&*stats.rows[unknown.0 as usize].labels.method, OTHER);
        stats.know(["/a.B/C", "/x.Y/1"].into_iter());
        assert_eq!(stats.row(Side::Inbound, "/a.B/C", &one), row);
        assert_ne!(stats.row(Side::Inbound, "/x.Y/1", &one), unknown);
    }
}
