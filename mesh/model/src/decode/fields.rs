//! The entries of a map, taken one by one.

use std::{ops::RangeInclusive, time::Duration};

use super::Decoder;
use crate::{
    problem::{Problem, nearest},
    span::{Span, Spanned},
    tree::Node,
};

/// The entries of a map; what nobody took is unknown.
#[derive(Debug)]
pub struct Fields<'n> {
    pub(super) what: &'static str,
    /// Where the map begins.
    pub span: Span,
    pub(super) entries: Vec<&'n (Spanned<String>, Node)>,
    pub(super) known: Vec<&'static str>,
    pub(super) broken: bool,
}

impl<'n> Fields<'n> {
    /// The value of a key, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let index = self
            .entries
            .iter()
            .position(|(name, _)| name.value == key)?;
        Some(&self.entries.remove(index).1)
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.place(key).is_some()
    }

    /// Where a key is.
    pub fn place(&self, key: &str) -> Option<Span> {
        let mut names = self.entries.iter().map(|(name, _)| name);
        names.find(|name| name.value == key).map(|name| name.span)
    }

    /// A count that has a default. A value that could not be read is a problem by now.
    pub fn count(
        &mut self,
        decoder: &mut Decoder,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        self.take(key)
            .and_then(|node| decoder.count(node, &format!("`{key}`"), range))
            .unwrap_or(default)
    }

    /// As [`Self::count`], for a duration.
    pub fn duration(
        &mut self,
        decoder: &mut Decoder,
        key: &'static str,
        default: Duration,
    ) -> Duration {
        self.take(key)
            .and_then(|node| decoder.duration(node, &format!("`{key}`")))
            .map_or(default, |found| found.value)
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, decoder: &mut Decoder, key: &'static str) -> Option<&'n Node> {
        let value = self.take(key);
        if value.is_none() && !self.broken {
            let message = format!("{} has no `{key}`", self.what);
            decoder.report(Problem::new("missing-key", self.span, message));
        }
        value
    }

    /// Whether a map was there at all.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Every entry left, for maps whose keys are names.
    pub fn rest(self) -> Vec<&'n (Spanned<String>, Node)> {
        self.entries
    }

    /// Reports the keys nobody took.
    pub fn finish(self, decoder: &mut Decoder) {
        for (key, _) in self.entries {
            let message = format!("unknown key `{}` in {}", key.value, self.what);
            let hint = match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", self.known.join(", ")),
            };
            decoder.report(Problem::new("unknown-key", key.span, message).hint(hint));
        }
    }
}
