//! What happened in a case: facts that expectations are compared with.

use std::{collections::BTreeMap, time::Duration};

use weft_policy::RateLimitStatus;

/// All that happened.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub calls: Vec<CallStory>,
    pub attempts: Vec<AttemptStory>,
    /// By endpoint name.
    pub ejections: BTreeMap<String, Vec<(Duration, Duration)>>,
    pub peaks: BTreeMap<String, u32>,
    pub connections: BTreeMap<String, u32>,
    /// Requests per second all workloads of a service can answer, by service; those without a limit
    /// are not in it.
    pub capacity: BTreeMap<String, f64>,
    pub lines: Vec<Line>,
    pub ended: Duration,
    pub is_endless: bool,
}

impl Story {
    /// The most requests an endpoint had at once; without a name, any of them.
    pub fn peak(&self, name: &str) -> f64 {
        most(&self.peaks, name)
    }

    pub fn most_connections(&self, name: &str) -> f64 {
        most(&self.connections, name)
    }
}

fn most(counts: &BTreeMap<String, u32>, name: &str) -> f64 {
    let meant = counts
        .iter()
        .filter(|(known, _)| name.is_empty() || *known == name);
    meant
        .map(|(_, count)| f64::from(*count))
        .fold(0.0, f64::max)
}

/// A line of the timeline.
#[derive(Debug)]
pub(crate) struct Line {
    pub at: Duration,
    /// `None`: it concerns all of them.
    pub call: Option<usize>,
    pub text: String,
}

/// One call.
#[derive(Debug)]
pub(crate) struct CallStory {
    /// The kind of call in the case. `None`: a workload's own, or a copy.
    pub kind: Option<usize>,
    pub path: String,
    pub from: String,
    pub started: Duration,
    pub attempts: Vec<usize>,
    pub record_attempts: u32,
    pub transparent_retries: u32,
    pub hedges: u32,
    pub rule: String,
    pub route: String,
    pub response_headers: Vec<(String, String)>,
    pub end: Option<End>,
}

impl CallStory {
    pub fn new(kind: Option<usize>, path: String, from: String, started: Duration) -> Self {
        Self {
            kind,
            path,
            from,
            started,
            attempts: Vec::new(),
            record_attempts: 0,
            transparent_retries: 0,
            hedges: 0,
            rule: String::new(),
            route: String::new(),
            response_headers: Vec::new(),
            end: None,
        }
    }

    pub fn code(&self) -> Option<i32> {
        self.end.as_ref().map(|end| end.code)
    }

    pub fn reason(&self) -> Option<&str> {
        self.end.as_ref().map(|end| end.reason.as_str())
    }
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub at: Duration,
    pub code: i32,
    pub reason: String,
    pub message: String,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct AttemptStory {
    pub call: usize,
    pub endpoint: String,
    pub service: String,
    pub started: Duration,
    pub previous: u32,
    pub is_copy: bool,
    /// Whether no retry or hedge led to it, here or at a hop before.
    pub is_original: bool,
    /// When its request came to the endpoint's sidecar.
    pub received: Option<Duration>,
    pub headers: Vec<(String, String)>,
    pub deadline_left: Option<Duration>,
    pub pushback: Option<Duration>,
    pub rate_limit: Option<RateLimitStatus>,
    pub caller_rule: String,
    pub would_be_refused: Option<String>,
    pub criticality: Option<&'static str>,
    pub is_cancelled: bool,
}
