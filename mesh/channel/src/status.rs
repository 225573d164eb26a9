//! The data plane's own answers, as gRPC statuses.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};
use tonic_types::{ErrorDetails, StatusExt as _};
use weft_policy::{DecisionRecord, Failure, RateLimitStatus, Refusal, RetryAdvice};

use crate::body::{self, Body};

/// The domain of our `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "weft.mesh";

/// A message is cut after this: encoded it must fit in a header.
const LONGEST_MESSAGE_BYTES: usize = 1024;

/// Header fields of our own making: lower-case names, values of printable ASCII.
pub type Fields = Vec<(&'static str, String)>;

/// The status as header fields, for headers of a trailers-only response or for trailers.
pub fn fields(failure: &Failure, record: &DecisionRecord) -> Fields {
    let facts = record
        .facts()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let facts: std::collections::HashMap<String, String> = facts.collect();
    let details = ErrorDetails::with_error_info(failure.reason.as_str(), ERROR_DOMAIN, facts);
    let code = tonic::Code::from_i32(failure.code);
    let message = shortened(&failure.message);
    let status = tonic::Status::with_error_details(code, message, details);
    vec![
        ("grpc-status", failure.code.to_string()),
        ("grpc-message", percent_encoded(message)),
        (
            "grpc-status-details-bin",
            STANDARD_NO_PAD.encode(status.details()),
        ),
    ]
}

/// As [`fields`], with what a refused caller is told about trying again and about its limit.
pub fn refusal_fields(refusal: &Refusal) -> Fields {
    let mut fields = fields(&refusal.failure, &refusal.record);
    match refusal.retry {
        Some(RetryAdvice::After(wait)) => {
            fields.push(("grpc-retry-pushback-ms", wait.as_millis().to_string()));
            fields.push(("retry-after", seconds(wait)));
        }
        Some(RetryAdvice::Never) => fields.push(("grpc-retry-pushback-ms", "-1".to_owned())),
        None => {}
    }
    if let Some(limit) = &refusal.rate_limit {
        fields.extend(rate_limit_fields(limit));
    }
    fields
}

/// Where a rate limit stands, as the IETF's draft of `RateLimit` headers has it.
pub fn rate_limit_fields(limit: &RateLimitStatus) -> Fields {
    vec![
        ("ratelimit-limit", limit.limit.to_string()),
        ("ratelimit-remaining", limit.remaining.to_string()),
        ("ratelimit-reset", seconds(limit.reset)),
    ]
}

/// A trailers-only response: HTTP 200, the status in the headers, no body.
pub fn response(failure: &Failure, record: &DecisionRecord) -> Response<Body> {
    response_of(&fields(failure, record))
}

/// A trailers-only response with these fields.
pub(crate) fn response_of(fields: &Fields) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::OK;
    *response.version_mut() = Version::HTTP_2;
    add(response.headers_mut(), fields);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// The same status as trailers, for a stream that has begun.
pub fn trailers(failure: &Failure, record: &DecisionRecord) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    add(&mut headers, &fields(failure, record));
    headers
}

/// Sets header fields.
pub(crate) fn add(headers: &mut HeaderMap, fields: &Fields) {
    for (name, value) in fields {
        // All values are printable ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Whole seconds, rounded up: who waits so long has waited long enough.
fn seconds(wait: std::time::Duration) -> String {
    wait.as_nanos().div_ceil(1_000_000_000).to_string()
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// `grpc-message`: everything but printable ASCII, and the percent sign, is encoded.
fn percent_encoded(message: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                // Writing into a `String` does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use weft_policy::Reason;

    use super::*;

    #[test]
    fn the_answer_is_trailers_only_and_names_reason_and_facts() {
        let record = DecisionRecord {
            target: "payments:7070".into(),
            method: "/a.B/C".into(),
            attempts: 2,
            ..DecisionRecord::default()
        };
        let failure = Failure::new(Reason::NoHealthyEndpoint, "`payments:7070` has no endpoint");
        let response = response(&failure, &record);
        let status = tonic::Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "`payments:7070` has no endpoint");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.reason, "NO_HEALTHY_ENDPOINT");
        assert_eq!(info.domain, "weft.mesh");
        assert_eq!(info.metadata["target"], "payments:7070");
        assert_eq!(info.metadata["attempts"], "2");
    }

    #[test]
    fn any_message_arrives_as_far_as_it_fits() {
        for message in ["100 % \u{e4}\n\u{7f}", "", &"\u{20ac}".repeat(5_000)] {
            let failure = Failure::new(Reason::BadRequest, message);
            let headers = trailers(&failure, &DecisionRecord::default());
            let status = tonic::Status::from_header_map(&headers).expect("a status");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(message.starts_with(status.message()));
            assert!(status.message().len() == message.len() || status.message().len() > 1_000);
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let refusal = Refusal {
            record: DecisionRecord::default(),
            failure: Failure::new(Reason::RateLimited, "slow down"),
            retry: Some(RetryAdvice::After(std::time::Duration::from_millis(1_200))),
            rate_limit: Some(RateLimitStatus {
                name: "calls".into(),
                limit: 10,
                remaining: 0,
                reset: std::time::Duration::from_millis(1_200),
            }),
        };
        let fields = refusal_fields(&refusal);
        for (name, value) in [
            ("grpc-status", "8"),
            ("grpc-retry-pushback-ms", "1200"),
            ("retry-after", "2"),
            ("ratelimit-limit", "10"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "2"),
        ] {
            assert!(
                fields.contains(&(name, value.to_owned())),
                "{name}: {fields:?}"
            );
        }
    }
}
