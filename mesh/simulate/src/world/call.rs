//! How calls begin: from the case's callers, from workloads, and as copies.

use std::borrow::Cow;

use weft_model::dataplane::{Backend, HeaderChanges};
use weft_policy::{Call, Headers, RequestFacts, deadline::format_timeout};

use super::*;
use crate::{spec::Callee, words::show_time};

/// One call while it runs.
pub(super) struct Run {
    pub proxy: usize,
    pub call: Option<Call>,
    pub story: CallStory,
    /// Attempts under way.
    pub open: Vec<AttemptId>,
    /// Counts plans to pick, so that an old one is known as such.
    pub plan: u64,
    /// Whether it waits for an endpoint, which a new configuration may bring.
    pub is_held: bool,
    /// The request at whose workload it began.
    pub parent: Option<AttemptId>,
    /// The same for all calls that one call led to.
    pub trace: u128,
    /// Whether no retry or hedge led to it at a hop before.
    pub is_original: bool,
    pub is_copy: bool,
    pub is_replayable: bool,
    pub headers: Vec<(String, String)>,
}

impl Run {
    pub fn into_story(self) -> CallStory {
        let mut story = self.story;
        if let Some(call) = &self.call {
            story.record_attempts = call.record.attempts;
            story.transparent_retries = call.record.transparent_retries;
            story.hedges = call.record.hedges;
            story.rule = call.record.rule.to_string();
            story.route = call.record.route.as_deref().unwrap_or("none").to_owned();
            change_headers(&mut story.response_headers, call.response_headers());
        }
        story
    }
}

/// A call that begins.
struct Beginning {
    kind: Option<usize>,
    proxy: usize,
    from: String,
    callee: Callee,
    timeout: Option<Duration>,
    is_retry: bool,
    is_replayable: bool,
    headers: Vec<(String, String)>,
    parent: Option<AttemptId>,
    trace: Option<u128>,
    is_original: bool,
}

impl World<'_> {
    /// A call of a kind, as the case has it.
    pub(super) fn start(&mut self, kind: usize) {
        let spec = &self.case.calls[kind];
        let number = self.counts.entry(kind).or_default();
        *number += 1;
        let number = *number;
        let proxy = self.caller(&spec.from, &spec.locality);
        let call = self.begin(Beginning {
            kind: Some(kind),
            proxy,
            from: spec.from.clone(),
            callee: spec.callee.clone(),
            timeout: spec.timeout,
            is_retry: spec.is_retry,
            is_replayable: spec.is_replayable,
            headers: numbered(&spec.headers, number),
            parent: None,
            trace: None,
            is_original: true,
        });
        if let Some(wait) = spec.cancel_after {
            self.after(wait, Event::Cancel(call));
        }
    }

    /// A workload's own call while it works on a request. `None`: it ended at once.
    pub(super) fn begin_child(&mut self, parent: AttemptId, callee: Callee) -> Option<CallId> {
        let request = &self.attempts[parent];
        let workload = &self.workloads[request.workload];
        let now = self.base + self.now;
        let trace = self.calls[request.call].trace;
        let admission = request.admission.as_ref();
        let criticality = admission.map(|admission| {
            let grade = admission.criticality.as_str();
            ("x-weft-criticality".to_owned(), grade.to_owned())
        });
        let child = self.begin(Beginning {
            kind: None,
            proxy: workload.proxy?,
            from: workload.endpoint.instance.clone(),
            callee,
            timeout: admission.and_then(|admission| admission.deadline.remaining(now)),
            is_retry: workload.marks.is_repeated(trace, now),
            is_replayable: true,
            headers: criticality.into_iter().collect(),
            parent: Some(parent),
            trace: Some(trace),
            is_original: request.story.is_original,
        });
        let is_over = self.calls[child].story.end.is_some();
        (!is_over).then_some(child)
    }

    fn begin(&mut self, beginning: Beginning) -> CallId {
        let id = self.calls.len();
        let now = self.instant();
        let timeout = beginning.timeout.map(format_timeout);
        let facts = RequestFacts {
            authority: &beginning.callee.authority,
            path: &beginning.callee.path,
            grpc_timeout: timeout.as_deref(),
            is_retry: beginning.is_retry,
            headers: &Lookup(&beginning.headers),
        };
        let engine = &mut self.proxies[beginning.proxy].engine;
        let admitted = engine.admit(facts, now, &mut self.rng);
        let path = beginning.callee.path;
        let run = Run {
            proxy: beginning.proxy,
            call: None,
            story: CallStory::new(beginning.kind, path.clone(), beginning.from, self.now),
            open: Vec::new(),
            plan: 0,
            is_held: false,
            parent: beginning.parent,
            trace: beginning.trace.unwrap_or(id as u128 + 1),
            is_original: beginning.is_original,
            is_copy: false,
            is_replayable: beginning.is_replayable,
            headers: beginning.headers,
        };
        self.calls.push(run);
        match admitted {
            Err(failure) => {
                self.tell(id, || format!("{path} is refused at once: {failure}"));
                self.fail(id, failure);
            }
            Ok(call) => self.admitted(id, call),
        }
        id
    }

    fn admitted(&mut self, id: CallId, call: Call) {
        let now = self.instant();
        let run = &mut self.calls[id];
        change_headers(&mut run.headers, call.request_headers());
        let (path, copies) = (run.story.path.clone(), call.copies.clone());
        let (deadline, rule) = (call.deadline, Arc::clone(&call.record.rule));
        run.call = Some(call);
        self.tell(id, || match deadline.remaining(now) {
            Some(left) => format!("{path} by rule {rule}, {} left", show_time(left)),
            None => format!("{path} by rule {rule}, no deadline"),
        });
        if let Some(end) = deadline.instant() {
            self.at(self.since_base(end), Event::Deadline(id));
        }
        for backend in &copies {
            self.copy(id, backend);
        }
        self.pick(id);
    }

    fn copy(&mut self, of: CallId, backend: &Backend) {
        let now = self.instant();
        let run = &self.calls[of];
        let Some(call) = &run.call else { return };
        let engine = &mut self.proxies[run.proxy].engine;
        let copy = match engine.admit_copy(call, backend, now) {
            Ok(copy) => copy,
            Err(failure) => {
                let to = &backend.authority;
                return self.tell(of, || format!("no copy to {to}: {failure}"));
            }
        };
        let id = self.calls.len();
        let (path, from) = (run.story.path.clone(), run.story.from.clone());
        let copied = Run {
            proxy: run.proxy,
            call: None,
            story: CallStory::new(None, path, from, self.now),
            open: Vec::new(),
            plan: 0,
            is_held: false,
            parent: None,
            trace: run.trace,
            is_original: run.is_original,
            is_copy: true,
            is_replayable: run.is_replayable,
            headers: run.headers.clone(),
        };
        self.calls.push(copied);
        self.tell(of, || format!("copy to {}", backend.authority));
        self.admitted(id, copy);
    }
}

/// `{n}` in a header's value is the number of the call among those of its kind.
fn numbered(headers: &[(String, String)], number: u32) -> Vec<(String, String)> {
    let number = number.to_string();
    let header = |(name, value): &(String, String)| (name.clone(), value.replace("{n}", &number));
    headers.iter().map(header).collect()
}

/// Headers as the engine asks for them.
pub(super) struct Lookup<'a>(pub &'a [(String, String)]);

impl Headers for Lookup<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (_, first) = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |all, (_, next)| {
            Cow::Owned(format!("{all},{next}"))
        }))
    }
}

fn change_headers(headers: &mut Vec<(String, String)>, changes: &HeaderChanges) {
    for (name, value) in &changes.set {
        headers.retain(|(known, _)| known != name);
        headers.push((name.clone(), value.clone()));
    }
    headers.extend(changes.add.iter().cloned());
    headers.retain(|(name, _)| !changes.remove.contains(name));
}
