//! Whether what happened is what was expected, and in words if it is not.

mod calls;
mod check;
mod measure;
mod totals;

use std::time::Duration;

use weft_model::Span;

use crate::{
    judge::check::Judge,
    spec::{Case, Check, Suite},
    story::{CallStory, Story},
    world,
};

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// What was not as expected. Empty: the case passed.
    pub mismatches: Vec<Mismatch>,
    /// How many calls were made.
    pub calls: usize,
    /// How much time went by for them.
    pub virtual_time: Duration,
    /// What happened, if it was asked for or something is not as expected.
    pub timeline: Vec<TimelineLine>,
}

/// One thing that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of the expectation.
    pub what: String,
    /// As it is written.
    pub expected: String,
    /// What there was instead.
    pub found: String,
    /// Where the expectation is written.
    pub span: Span,
}

/// One line of the timeline of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineLine {
    /// Since the beginning.
    pub at: Duration,
    /// The call, counted from 1. `None`: it concerns all of them.
    pub call: Option<usize>,
    /// What happened.
    pub text: String,
}

/// A timeline of more calls would help nobody: these are the first that matter.
const TOLD_CALLS: usize = 5;

impl Suite {
    /// Whether a case passes, and nothing else about it.
    pub fn passes(&self, case: &Case) -> bool {
        judge(case, &world::run(self, case, false)).is_empty()
    }

    /// Plays one case of this file. `is_told`: with its timeline, also if it passes.
    pub fn run(&self, case: &Case, is_told: bool) -> Outcome {
        let story = world::run(self, case, is_told);
        let mismatches = judge(case, &story);
        if mismatches.is_empty() || is_told {
            return outcome(case, &story, mismatches);
        }
        // Most cases pass and need no timeline: it costs more than the rest. A case is always the same.
        outcome(case, &world::run(self, case, true), mismatches)
    }
}

fn outcome(case: &Case, story: &Story, mismatches: Vec<Mismatch>) -> Outcome {
    let told = told_calls(case, story);
    let lines = story.lines.iter();
    let lines = lines.filter(|line| line.call.is_none_or(|call| told.contains(&call)));
    let timeline = lines.map(|line| TimelineLine {
        at: line.at,
        call: line.call.map(|call| call + 1),
        text: line.text.clone(),
    });
    Outcome {
        mismatches,
        calls: story
            .calls
            .iter()
            .filter(|call| call.kind.is_some())
            .count(),
        virtual_time: story.ended,
        timeline: timeline.collect(),
    }
}

/// Of many calls, those that are not as each should be come first.
fn told_calls(case: &Case, story: &Story) -> Vec<usize> {
    let odd = |call: &CallStory| {
        let own = call.kind.map(|kind| &case.calls[kind].expect);
        let expects = own.into_iter().flatten().chain(&case.expect);
        expects
            .flat_map(|expect| &expect.checks)
            .any(|(_, check)| match check {
                Check::Status(codes) => call
                    .end
                    .as_ref()
                    .is_none_or(|end| !codes.contains(&end.code)),
                _ => false,
            })
    };
    let calls = || story.calls.iter().enumerate();
    let first = calls()
        .filter(|(_, call)| odd(call))
        .map(|(index, _)| index);
    let mut told: Vec<_> = first.take(TOLD_CALLS).collect();
    let others = calls()
        .map(|(index, _)| index)
        .filter(|index| !told.contains(index));
    let others: Vec<_> = others.take(TOLD_CALLS - told.len()).collect();
    told.extend(others);
    told
}

fn judge(case: &Case, story: &Story) -> Vec<Mismatch> {
    let mut judge = Judge {
        story,
        mismatches: Vec::new(),
    };
    if story.is_endless {
        judge.wrong(
            "case",
            "an end",
            "no end: calls go on for ever",
            case.name.span,
        );
        return judge.mismatches;
    }
    for expect in &case.expect {
        judge.expect(None, expect);
    }
    for (kind, call) in case.calls.iter().enumerate() {
        for expect in &call.expect {
            judge.expect(Some(kind), expect);
        }
    }
    judge.mismatches.sort_by_key(|mismatch| mismatch.span);
    judge.mismatches
}
