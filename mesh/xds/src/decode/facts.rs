//! Our own facts in metadata.

use std::collections::BTreeMap;

use prost_types::{Struct, Value, value::Kind};

use super::Invalid;
use crate::{encode::METADATA, proto::envoy::config::core::v3::Metadata};

/// The facts of a resource or a route, and where they are in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    facts: Option<&'a Struct>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(metadata: Option<&'a Metadata>) -> Self {
        let facts = metadata.and_then(|metadata| metadata.filter_metadata.get(METADATA));
        Self { facts }
    }

    pub(super) fn within(facts: &'a Struct) -> Self {
        Self { facts: Some(facts) }
    }

    fn kind(self, name: &str) -> Option<&'a Kind> {
        self.facts?.fields.get(name)?.kind.as_ref()
    }

    fn wrong(name: &str, expected: &str) -> Invalid {
        let path = format!("metadata.filter_metadata[{METADATA}].{name}");
        Invalid::new(path, format!("not {expected}"))
    }

    pub(super) fn number(self, name: &str) -> Result<Option<u32>, Invalid> {
        match self.kind(name) {
            None => Ok(None),
            Some(Kind::NumberValue(number))
                if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number) =>
            {
                // In range and whole, so the cast is exact.
                Ok(Some(*number as u32))
            }
            Some(_) => Err(Self::wrong(name, "a whole number")),
        }
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Invalid> {
        match self.kind(name) {
            None => Ok(None),
            Some(Kind::StringValue(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(name, "a text")),
        }
    }

    pub(super) fn flag(self, name: &str) -> Result<bool, Invalid> {
        match self.kind(name) {
            None => Ok(false),
            Some(Kind::BoolValue(value)) => Ok(*value),
            Some(_) => Err(Self::wrong(name, "a boolean")),
        }
    }

    pub(super) fn list(self, name: &str) -> Result<Option<&'a [Value]>, Invalid> {
        match self.kind(name) {
            None => Ok(None),
            Some(Kind::ListValue(list)) => Ok(Some(&list.values)),
            Some(_) => Err(Self::wrong(name, "a list")),
        }
    }

    pub(super) fn texts(self, name: &str) -> Result<Vec<String>, Invalid> {
        let values = self.list(name)?.unwrap_or_default().iter();
        values
            .map(|value| match &value.kind {
                Some(Kind::StringValue(text)) => Ok(text.clone()),
                _ => Err(Self::wrong(name, "a list of texts")),
            })
            .collect()
    }

    pub(super) fn object(self, name: &str) -> Result<Option<&'a Struct>, Invalid> {
        match self.kind(name) {
            None => Ok(None),
            Some(Kind::StructValue(found)) => Ok(Some(found)),
            Some(_) => Err(Self::wrong(name, "an object")),
        }
    }
}

/// Labels as metadata holds them.
pub(super) fn labels(found: &Struct) -> Result<BTreeMap<String, String>, Invalid> {
    found
        .fields
        .iter()
        .map(|(key, value)| match &value.kind {
            Some(Kind::StringValue(text)) => Ok((key.clone(), text.clone())),
            _ => Err(Invalid::new(key.clone(), "a label must be a text")),
        })
        .collect()
}
