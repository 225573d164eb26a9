//! Which headers cross a proxy, and which mean something to it.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::Scheme};
use weft_model::dataplane::HeaderChanges;
use weft_policy::retry::trace_id;

/// How long the call may take.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The status of a call, in trailers or in the headers of a trailers-only response.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The status in words, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How many attempts of the call were made before this one.
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// How long the server wants a caller to wait before a retry.
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// Between our proxies only: the request provably never reached the workload.
pub const UNPROCESSED: HeaderName = HeaderName::from_static("x-weft-unprocessed");
/// Set by the inbound sidecar from the verified certificate: the caller's SPIFFE ID.
pub const CALLER: HeaderName = HeaderName::from_static("x-weft-caller");
/// Set by the edge from a verified token: the end user, `customers/{id}`. Workloads pass it on.
pub const SUBJECT: HeaderName = HeaderName::from_static("x-weft-subject");

/// How much the call matters, one of [`weft_model::dataplane::Criticality`]. Workloads pass it on.
pub const CRITICALITY: HeaderName = HeaderName::from_static("x-weft-criticality");
/// What an endpoint says of its load, as text.
pub const LOAD_METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// The same as a message.
pub const LOAD_METRICS_BIN: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// The trace a request belongs to, by its `traceparent`.
pub(crate) fn trace(headers: &HeaderMap) -> Option<u128> {
    trace_id(headers.get("traceparent")?.to_str().ok()?)
}

/// Headers as the engine asks for them.
pub struct Lookup<'a>(pub &'a HeaderMap);

impl weft_policy::Headers for Lookup<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.0.get_all(name).iter();
        let first = Cow::Borrowed(values.next()?.to_str().ok()?);
        values.try_fold(first, |all, next| {
            let next = next.to_str().ok()?;
            Some(Cow::Owned(format!("{all},{next}")))
        })
    }
}

/// Makes request headers fit for the next hop: no hop-by-hop headers, no identity headers but the end
/// user's, and `te: trailers`, without which gRPC servers refuse.
///
/// `x-weft-subject` and `x-weft-criticality` stay: only workloads of the mesh can reach a sidecar, and a
/// workload acts for the user it serves. The edge removes what comes from outside before it sets its own.
pub fn clean_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(header::HOST);
    headers.remove("x-forwarded-client-cert");
    remove_ours(headers, |name| *name == SUBJECT || *name == CRITICALITY);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// A request that leaves the mesh, in cleartext, tells nobody there for whom it is, and how much it matters.
pub(crate) fn leave_mesh<B>(request: &mut Request<B>) {
    for name in [SUBJECT, CRITICALITY] {
        request.headers_mut().remove(name);
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    // It was a URI before, and has the same parts.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Makes response headers or trailers fit for the hop before: nothing hop-by-hop, nothing ours.
pub fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove_ours(headers, |_| false);
}

/// Sets, adds and removes headers as a route asks for. What is no header is left out: `weft check`
/// refuses it.
pub fn change(headers: &mut HeaderMap, changes: &HeaderChanges) {
    let pair = |(name, value): &(String, String)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::try_from(value.as_str()).ok()?))
    };
    for (name, value) in changes.set.iter().filter_map(pair) {
        headers.insert(name, value);
    }
    for (name, value) in changes.add.iter().filter_map(pair) {
        headers.append(name, value);
    }
    for name in &changes.remove {
        headers.remove(name.as_str());
    }
}

/// The bytes of a `-bin` header. `None` if there is none or it is not base64.
pub(crate) fn binary(headers: &HeaderMap, name: HeaderName) -> Option<Vec<u8>> {
    let value = headers.get(name)?.as_bytes();
    // Senders may leave the padding out.
    let end = value.iter().rposition(|byte| *byte != b'=')? + 1;
    STANDARD_NO_PAD.decode(&value[..end]).ok()
}

/// The number in `grpc-status`, if there is one.
pub fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn remove_ours(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-weft-") && !keep(name))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_user_and_the_criticality_cross() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-weft-caller",
            "x-weft-subject",
            "x-weft-criticality",
            "x-weft-unprocessed",
            "connection",
            "x-a",
        ] {
            headers.insert(name, HeaderValue::from_static("x-b"));
        }
        headers.insert("x-b", HeaderValue::from_static("named by connection"));
        clean_request(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-a", "x-weft-criticality", "x-weft-subject"]);
        clean_response(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("old"));
        headers.insert("x-b", HeaderValue::from_static("gone"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let changes = HeaderChanges {
            set: vec![pair("x-a", "new"), pair("not a name", "x")],
            add: vec![pair("x-a", "more"), pair("x-c", "no\nvalue")],
            remove: vec!["x-b".to_owned()],
        };
        change(&mut headers, &changes);
        let values: Vec<_> = headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["new", "more"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn binary_headers_come_with_padding_or_without() {
        for text in ["aGk=", "aGk"] {
            let mut headers = HeaderMap::new();
            headers.insert(LOAD_METRICS_BIN, HeaderValue::from_static(text));
            let bytes = binary(&headers, LOAD_METRICS_BIN);
            assert_eq!(bytes.as_deref(), Some(&b"hi"[..]));
        }
    }
}
