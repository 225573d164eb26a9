//! The data plane's own answers, as gRPC statuses.

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use tonic_types::{ErrorDetails, StatusExt};
use weft_policy::{DecisionRecord, Failure};

use crate::body::{self, Body};

/// The domain of our `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "weft.mesh";

/// A trailers-only response: HTTP 200, the status in the headers, no body.
pub fn response(failure: &Failure, record: &DecisionRecord) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::OK;
    *response.version_mut() = Version::HTTP_2;
    *response.headers_mut() = trailers(failure, record);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// The same status as trailers, for a stream that has begun.
pub fn trailers(failure: &Failure, record: &DecisionRecord) -> HeaderMap {
    let facts = record
        .facts()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let facts: std::collections::HashMap<String, String> = facts.collect();
    let details = ErrorDetails::with_error_info(failure.reason.as_str(), ERROR_DOMAIN, facts);
    let code = tonic::Code::from_i32(failure.code);
    let status = tonic::Status::with_error_details(code, failure.message.clone(), details);
    let mut headers = HeaderMap::with_capacity(3);
    if status.add_header(&mut headers).is_err() {
        // The message or the details do not fit in a header: the code alone must do.
        headers.insert(crate::headers::GRPC_STATUS, HeaderValue::from(failure.code));
    }
    headers
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
}
