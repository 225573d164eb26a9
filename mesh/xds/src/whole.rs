//! What xDS has no field for, beside what it has one for.
//!
//! The settings of our own data plane go further than Envoy's and gRPC's resources: budgets, subsets,
//! localities by distance, faults in a fixed order, rate limits by caller. They travel as JSON in the
//! resources' metadata under [`METADATA`], which others ignore; the fields that others read are filled
//! besides. A resource without this metadata is read from its fields alone.

use prost_types::{Value, value::Kind};
use serde::{Serialize, de::DeserializeOwned};

use crate::{decode::Invalid, encode::METADATA, proto::envoy::config::core::v3::Metadata};

/// Adds `value` to metadata.
pub(crate) fn put(metadata: &mut Metadata, name: &str, value: &impl Serialize) {
    // Plain data with text keys: writing it as JSON does not fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    let facts = metadata
        .filter_metadata
        .entry(METADATA.to_owned())
        .or_default();
    let kind = Some(Kind::StringValue(text));
    facts.fields.insert(name.to_owned(), Value { kind });
}

/// Reads it back. `None` if it is not there.
pub(crate) fn take<T: DeserializeOwned>(
    metadata: Option<&Metadata>,
    name: &str,
) -> Result<Option<T>, Invalid> {
    let facts = metadata.and_then(|metadata| metadata.filter_metadata.get(METADATA));
    let Some(value) = facts.and_then(|facts| facts.fields.get(name)) else {
        return Ok(None);
    };
    let path = || format!("metadata.filter_metadata[{METADATA}].{name}");
    let Some(Kind::StringValue(text)) = &value.kind else {
        return Err(Invalid::new(path(), "not a text"));
    };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|error| Invalid::new(path(), error.to_string()))
}
