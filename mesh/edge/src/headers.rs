//! What of a caller's headers goes on, and what every response carries.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;
use weft_model::dataplane::Criticality;

/// Kept if the caller sends a sane one, else made; on every upstream call and response.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SUBJECT: HeaderName = HeaderName::from_static("x-weft-subject");
/// Calls from outside matter as much as users do: none of them says it is more or less.
const CRITICALITY: HeaderName = HeaderName::from_static("x-weft-criticality");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The caller's request id, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        (1..=128).contains(&bytes.len()) && bytes.iter().all(allowed)
    };
    let given = headers.get(&REQUEST_ID).filter(sane).cloned();
    given.unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The headers of an upstream call made from a REST request: few are allowed through.
pub(crate) fn for_rest(from: &HeaderMap, id: &HeaderValue, subject: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in [header::USER_AGENT, header::ACCEPT_LANGUAGE, GRPC_TIMEOUT] {
        if let Some(value) = from.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    identify(&mut headers, id, subject);
    headers
}

/// The headers of a gRPC request, cleaned: nothing that only proxies of the mesh may say, nothing
/// about the caller's connection, no credentials, no names other servers may read as something else.
pub(crate) fn for_grpc(from: &HeaderMap, id: &HeaderValue, subject: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        if !is_refused(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    identify(&mut headers, id, subject);
    headers
}

fn is_refused(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["x-weft-", "x-forwarded-", "x-envoy-", "proxy-"];
    const NAMES: [&str; 14] = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "grpc-previous-rpc-attempts",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p)) || name.contains('_')
}

fn identify(headers: &mut HeaderMap, id: &HeaderValue, subject: Option<&str>) {
    headers.insert(REQUEST_ID, id.clone());
    let criticality = Criticality::default().as_str();
    headers.insert(CRITICALITY, HeaderValue::from_static(criticality));
    if let Some(subject) = subject.and_then(|subject| HeaderValue::from_str(subject).ok()) {
        headers.insert(SUBJECT, subject);
    }
}

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Adds what every HTTP response carries.
pub(crate) fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn nobody_outside_says_who_they_are_by_header() {
        let from = map(&[
            ("x-weft-subject", "customers/1"),
            ("x-weft-caller", "spiffe://a/b"),
            ("x-weft-criticality", "CRITICAL_PLUS"),
            ("x-weft-unprocessed", "1"),
            ("x-forwarded-client-cert", "x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x_weft_subject", "customers/1"),
            ("x-mine", "kept"),
            ("grpc-timeout", "1S"),
        ]);
        let id = HeaderValue::from_static("id");
        let left = for_grpc(&from, &id, None);
        assert_eq!(left.len(), 4, "{left:?}");
        assert_eq!(left["x-weft-criticality"], "CRITICAL");
        assert_eq!(left["x-mine"], "kept");
        assert_eq!(
            for_grpc(&from, &id, Some("customers/2"))["x-weft-subject"],
            "customers/2"
        );
        assert_eq!(for_rest(&from, &id, None).len(), 3);
    }

    #[test]
    fn only_sane_request_ids_are_kept() {
        assert_eq!(request_id(&map(&[("x-request-id", "a-B_1.2")])), "a-B_1.2");
        for bad in ["", "a b", "<x>", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_ne!(request_id(&headers), bad);
        }
    }
}
