//! Statuses with the details that callers act upon: `google.rpc.ErrorInfo` with the domain
//! `sockshop`, and `google.rpc.BadRequest` for fields.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every reason that a service gives.
pub const ERROR_DOMAIN: &str = "sockshop";
/// When callers should come back to what is unavailable.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Any code with a reason (`UPPER_SNAKE_CASE`) and facts about it. No secrets in either.
pub fn error_info<'a>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Status {
    let facts: HashMap<String, String> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, facts);
    Status::with_error_details(code, message, details)
}

/// `INVALID_ARGUMENT` for one field of the request, named as in the contract (`lines[0].quantity`).
pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Status {
    let (field, why) = (field.into(), why.into());
    let message = format!("invalid `{field}`: {why}");
    invalid_fields(message, [(field, why)])
}

/// `INVALID_ARGUMENT` for several fields.
pub fn invalid_fields(
    message: impl Into<String>,
    fields: impl IntoIterator<Item = (String, String)>,
) -> Status {
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", ERROR_DOMAIN, HashMap::new());
    for (field, why) in fields {
        details.add_bad_request_violation(field, why);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// `INVALID_ARGUMENT` (reason `REQUEST_ID_REUSED`): the request id came before, with another request.
pub fn request_id_reused(request_id: &str) -> Status {
    let facts = HashMap::from([("requestId".to_owned(), request_id.to_owned())]);
    let mut details = ErrorDetails::with_error_info("REQUEST_ID_REUSED", ERROR_DOMAIN, facts);
    details.add_bad_request_violation("request_id", "was used for another request");
    let message = format!("request id `{request_id}` was used for another request");
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// `NOT_FOUND` for a resource name such as `orders/1`; the reason is made from the collection:
/// `ORDER_NOT_FOUND`. Also for what belongs to somebody else.
pub fn not_found(resource: &str) -> Status {
    not_found_because(&format!("{}_NOT_FOUND", singular(resource)), resource)
}

/// `NOT_FOUND` with the reason that the contract names.
pub fn not_found_because(reason: &str, resource: &str) -> Status {
    let message = format!("`{resource}` does not exist");
    error_info(Code::NotFound, reason, message, [("resource", resource)])
}

/// `ALREADY_EXISTS` with a reason.
pub fn already_exists(reason: &str, message: impl Into<String>) -> Status {
    error_info(Code::AlreadyExists, reason, message, [])
}

/// `FAILED_PRECONDITION`: not until the state changes.
pub fn failed_precondition<'a>(
    reason: &str,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Status {
    error_info(Code::FailedPrecondition, reason, message, metadata)
}

/// `ABORTED`: start over from the read.
pub fn aborted(reason: &str, message: impl Into<String>) -> Status {
    error_info(Code::Aborted, reason, message, [])
}

/// `UNAVAILABLE` with a reason: try again, after a moment.
pub fn unavailable(reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// `UNAUTHENTICATED` with a reason.
pub fn unauthenticated(reason: &str, message: impl Into<String>) -> Status {
    error_info(Code::Unauthenticated, reason, message, [])
}

/// `INTERNAL`: our bug. The caller learns nothing more; log the cause before.
pub fn internal() -> Status {
    Status::internal("internal error")
}

/// The `ErrorInfo` reason of a status that came from a peer, if it carries one.
pub fn reason(status: &Status) -> Option<String> {
    Some(status.get_details_error_info()?.reason)
}

/// `products/1/variants/2` -> `VARIANT`, `addresses/1` -> `ADDRESS`, `cardTokens/1` -> `CARD_TOKEN`.
fn singular(resource: &str) -> String {
    let mut segments = resource.rsplit('/');
    let collection = match (segments.next(), segments.next()) {
        (Some(_), Some(collection)) => collection,
        _ => return "RESOURCE".into(),
    };
    let stem = if let Some(stem) = collection.strip_suffix("ies") {
        format!("{stem}y")
    } else if collection.ends_with("sses") || collection.ends_with("xes") {
        collection[..collection.len() - 2].to_owned()
    } else {
        collection
            .strip_suffix('s')
            .unwrap_or(collection)
            .to_owned()
    };
    let mut upper = String::new();
    for letter in stem.chars() {
        if letter.is_ascii_uppercase() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_names_the_resource() {
        for (resource, expected) in [
            ("orders/1", "ORDER_NOT_FOUND"),
            ("products/1/variants/2", "VARIANT_NOT_FOUND"),
            ("customers/1/addresses/2", "ADDRESS_NOT_FOUND"),
            ("cardTokens/x", "CARD_TOKEN_NOT_FOUND"),
            ("categories/x", "CATEGORY_NOT_FOUND"),
        ] {
            let status = not_found(resource);
            assert_eq!(status.code(), Code::NotFound);
            assert_eq!(reason(&status).as_deref(), Some(expected));
        }
    }

    #[test]
    fn invalid_field_is_named_in_the_details() {
        let status = invalid("lines[0].quantity", "must be at least 1");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "lines[0].quantity");
    }
}
