//! A request's head: whether it can be meant in one way only, its span, its line in the access log.

use std::net::SocketAddr;

use http::{HeaderValue, Method, Request, Version, header, uri::Authority};
use tokio::time::Instant;
use tracing::{Span, field::Empty, info_span};
use weft_channel::{Body, body};
use weft_runtime::trace;

/// What hyper lets through and others read differently: no `Host`, two or none that is a host, and
/// codings below `chunked`. It has refused lengths that contradict each other; a length beside
/// `chunked` it ignores, and closes the connection.
pub(crate) fn malformed(request: &Request<Body>) -> Option<&'static str> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts == 0 {
        return Some("there is no Host header");
    }
    if hosts > 1 {
        return Some("there are several Host headers");
    }
    if headers.get(header::HOST).is_some_and(|host| !is_host(host)) {
        return Some("the Host header is no host and port");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !codings.next().is_none_or(is_chunked) || codings.next().is_some() {
        return Some("Transfer-Encoding can only be `chunked`, once");
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    (lengths > 1).then_some("there are several Content-Length headers")
}

fn is_host(host: &HeaderValue) -> bool {
    !host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok()
}

/// The body of an answer to HEAD: none, but its length stays known.
pub(crate) fn sized(content: &Body) -> Body {
    struct Sized(u64);
    impl http_body::Body for Sized {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            self.0 == 0
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.0)
        }
    }
    match http_body::Body::size_hint(content).exact() {
        Some(length) => body::boxed(Sized(length)),
        None => body::empty(),
    }
}

pub(crate) fn request_span(request: &Request<Body>, id: &HeaderValue) -> Span {
    let span = info_span!(
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %request.method(),
        http.response.status_code = Empty,
        request_id = id.to_str().unwrap_or_default(),
    );
    trace::extract(request.headers(), &span);
    span
}

/// What the access log says about a request: never a query, a body or a credential.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) peer: SocketAddr,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) user_agent: String,
    pub(crate) request_id: String,
    pub(crate) started: Instant,
}

impl LogLine {
    pub(crate) fn of(
        peer: SocketAddr,
        request: &Request<Body>,
        id: &HeaderValue,
        started: Instant,
    ) -> Self {
        let agent = request.headers().get(header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
        Self {
            peer,
            method: request.method().clone(),
            path: request.uri().path().chars().take(256).collect(),
            version: request.version(),
            user_agent: agent.chars().take(128).collect(),
            request_id: id.to_str().unwrap_or_default().to_owned(),
            started,
        }
    }
}
