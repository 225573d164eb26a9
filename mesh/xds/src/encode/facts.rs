//! Our own facts, as metadata.

use std::collections::BTreeMap;

use prost_types::{ListValue, Struct, Value, value::Kind};

use super::METADATA;
use crate::proto::envoy::config::core::v3::Metadata;

/// Facts by name; none at all are no metadata.
pub(super) fn metadata<'a>(facts: impl IntoIterator<Item = (&'a str, Value)>) -> Option<Metadata> {
    let facts = structure(facts);
    (!facts.fields.is_empty()).then(|| Metadata {
        filter_metadata: [(METADATA.to_owned(), facts)].into(),
        ..Default::default()
    })
}

pub(super) fn structure<'a>(facts: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    let fields = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Struct { fields }
}

pub(super) fn number(value: u32) -> Value {
    kind(Kind::NumberValue(f64::from(value)))
}

pub(super) fn text(value: &str) -> Value {
    kind(Kind::StringValue(value.to_owned()))
}

pub(super) fn flag(value: bool) -> Value {
    kind(Kind::BoolValue(value))
}

pub(super) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    kind(Kind::ListValue(ListValue {
        values: values.into_iter().collect(),
    }))
}

pub(super) fn object(value: Struct) -> Value {
    kind(Kind::StructValue(value))
}

/// Labels as they are written in metadata.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Struct {
    structure(
        labels
            .iter()
            .map(|(key, value)| (key.as_str(), text(value))),
    )
}

fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}
