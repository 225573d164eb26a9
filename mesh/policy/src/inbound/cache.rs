//! Which rules and limits hold for a caller and a path, found once.

use std::sync::Arc;

use foldhash::HashMap;

use crate::{
    authorize::{Matching, Rules},
    facts::InboundFacts,
    limit::RateLimits,
};

/// What was found for callers and paths. Both come from outside, so their number is bounded.
#[derive(Debug, Default)]
pub(super) struct Cache {
    by_caller: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
    known: Vec<Known>,
}

/// What holds for calls of one caller and path.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) caller: Arc<str>,
    pub(super) path: Arc<str>,
    pub(super) matching: Matching,
    pub(super) limits: Vec<usize>,
}

/// How many pairs of caller and path are remembered.
const MOST_KNOWN: usize = 4096;

impl Cache {
    pub(super) fn find(
        &mut self,
        facts: &InboundFacts<'_>,
        rules: &Rules,
        limits: &RateLimits,
    ) -> &Known {
        let InboundFacts { caller, path, .. } = *facts;
        let paths = self.by_caller.get(caller);
        if let Some(&place) = paths.and_then(|paths| paths.get(path)) {
            return &self.known[place];
        }
        if self.known.len() >= MOST_KNOWN {
            *self = Self::default();
        }
        let known = Known {
            caller: caller.into(),
            path: path.into(),
            matching: rules.matching(caller, path),
            limits: limits.matching(caller, path),
        };
        let place = self.known.len();
        let paths = self.by_caller.entry(Arc::clone(&known.caller));
        paths.or_default().insert(Arc::clone(&known.path), place);
        self.known.push(known);
        &self.known[place]
    }
}
