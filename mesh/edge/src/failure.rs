//! Why a request got no answer from a service, or which error the service gave, and how each protocol
//! says it: `google.rpc.Status` as JSON over REST, trailers over gRPC.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use weft_channel::{Body, body};
use weft_transcode::{Error, Plans, Reason};

/// The domain of the edge's own `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "weft.edge";

/// An error on its way to the caller.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    http: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// An error of the edge itself.
    pub(crate) fn new(
        http: StatusCode,
        code: Code,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
        Self {
            status: Status::with_error_details(code, message, details),
            http,
            headers: Vec::new(),
        }
        .challenged(reason)
    }

    /// What is wrong with a request, by its field.
    pub(crate) fn invalid(error: &Error) -> Self {
        if error.reason == Reason::InvalidMessage {
            return Self::internal(error);
        }
        let reason = error.reason.as_str();
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
        if !error.field.is_empty() {
            details.add_bad_request_violation(&error.field, &error.message);
        }
        Self {
            status: Status::with_error_details(Code::InvalidArgument, error.to_string(), details),
            http: StatusCode::BAD_REQUEST,
            headers: Vec::new(),
        }
    }

    /// A response that is no message of its type: the cause goes to the log only.
    pub(crate) fn internal(cause: &Error) -> Self {
        tracing::error!(
            field = cause.field,
            cause = cause.message,
            "response cannot be read"
        );
        let message = "the service answered with something that cannot be read";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "INVALID_RESPONSE",
            message,
        )
    }

    /// The error a service, or the mesh on the way to it, gave.
    pub(crate) fn upstream(status: Status) -> Self {
        Self {
            http: http_status(status.code()),
            status,
            headers: Vec::new(),
        }
        .challenged("")
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// RFC 6750: a 401 says which scheme is wanted, and what was wrong with a token that was sent.
    fn challenged(self, reason: &str) -> Self {
        if self.http != StatusCode::UNAUTHORIZED {
            return self;
        }
        let challenge = match reason {
            "" | "TOKEN_MISSING" => "Bearer realm=\"weft\"",
            _ => "Bearer realm=\"weft\", error=\"invalid_token\"",
        };
        self.with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// As a REST response.
    pub(crate) fn rest(self, plans: &Plans) -> Response<Body> {
        let json = status_json(plans, &self.status);
        let mut response = Response::new(body::full(json));
        *response.status_mut() = self.http;
        let retry = self
            .status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let headers = response.headers_mut();
        if let Some(delay) = retry {
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }

    /// As a trailers-only gRPC response.
    pub(crate) fn grpc(self) -> Response<Body> {
        let response: Response<()> = self.status.into_http();
        response.map(|()| body::empty())
    }
}

/// `google.rpc.Status` as JSON: `{"code": 5, "message": "...", "details": [...]}`.
pub(crate) fn status_json(plans: &Plans, status: &Status) -> Bytes {
    let details = tonic_types::pb::Status::decode(status.details())
        .map(|decoded| decoded.details)
        .unwrap_or_default();
    let details = details.into_iter().map(with_json_names).collect();
    let code = status.code() as i32;
    let message = status.message().to_owned();
    let whole = tonic_types::pb::Status {
        code,
        message: message.clone(),
        details,
    };
    let json = plans.to_json("google.rpc.Status", &whole.encode_to_vec());
    json.map(Bytes::from).unwrap_or_else(|error| {
        // Details of a known type that do not decode: the error itself must still arrive.
        tracing::warn!(cause = error.message, "error details cannot be read");
        let bare = serde_json::json!({"code": code, "message": message});
        Bytes::from(bare.to_string())
    })
}

/// The field paths of a `BadRequest` in lowerCamel, as the JSON of the request has them.
fn with_json_names(mut any: prost_types::Any) -> prost_types::Any {
    if any.type_url.ends_with("/google.rpc.BadRequest")
        && let Ok(mut bad) = tonic_types::pb::BadRequest::decode(any.value.as_slice())
    {
        for violation in &mut bad.field_violations {
            violation.field = lower_camel(&violation.field);
        }
        any.value = bad.encode_to_vec();
    }
    any
}

fn lower_camel(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('_', Some(next)) if next.is_ascii_lowercase() => {
                out.push(next.to_ascii_uppercase());
                letters.next();
            }
            _ => out.push(letter),
        }
    }
    out
}

/// The HTTP status of a gRPC code, as `google/rpc/code.proto` has it.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(status: &Status) -> serde_json::Value {
        let plans = Plans::new(contracts::pool());
        serde_json::from_slice(&status_json(&plans, status)).unwrap()
    }

    #[test]
    fn status_is_bare_google_rpc_status_with_details() {
        let mut details = ErrorDetails::with_error_info(
            "OUT_OF_STOCK",
            "orders",
            HashMap::from([("left".to_owned(), "1".to_owned())]),
        );
        details.add_bad_request_violation("order.lines[0].unit_price", "is negative");
        let status = Status::with_error_details(Code::FailedPrecondition, "too few", details);
        let json = json(&status);
        assert_eq!(json["code"], 9);
        assert_eq!(json["message"], "too few");
        let info = &json["details"][0];
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
        assert_eq!(info["reason"], "OUT_OF_STOCK");
        assert_eq!(info["metadata"]["left"], "1");
        let violation = &json["details"][1]["fieldViolations"][0];
        assert_eq!(violation["field"], "order.lines[0].unitPrice");
    }

    #[test]
    fn broken_details_do_not_hide_the_error() {
        let status = Status::with_details(Code::NotFound, "gone", Bytes::from_static(b"\xff\xff"));
        assert_eq!(
            json(&status),
            serde_json::json!({"code": 5, "message": "gone"})
        );
    }

    #[test]
    fn a_wait_is_told_in_retry_after() {
        let delay = Some(std::time::Duration::from_millis(1200));
        let details = ErrorDetails::with_retry_info(delay);
        let status = Status::with_error_details(Code::Unavailable, "later", details);
        let response = Failure::upstream(status).rest(&Plans::new(contracts::pool()));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn a_401_carries_a_challenge() {
        let response =
            Failure::upstream(Status::unauthenticated("who?")).rest(&Plans::new(contracts::pool()));
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"weft\""
        );
    }
}
