//! Native gRPC: methods for outsiders are passed on as they are, the rest does not exist.

use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use tonic::Code;
use tower::ServiceExt;
use weft_channel::{Body, body};

use crate::{
    api::Served,
    failure::Failure,
    frames,
    front::{Facts, Front, reason},
    headers, input,
};

/// Whether a request speaks gRPC.
pub(crate) fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.strip_prefix("application/grpc")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
        })
}

/// Answers a gRPC request.
pub(crate) async fn serve(
    front: &Front,
    request: Request<Body>,
    id: &HeaderValue,
) -> Response<Body> {
    if request.version() < Version::HTTP_2 {
        // Without trailers a caller would never learn how the call ended.
        return Failure::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Code::Unimplemented,
            "HTTP2_NEEDED",
            "gRPC needs HTTP/2; REST over HTTP/1.1 is described at /docs",
        )
        .rest(&front.api.plans);
    }
    let path = request.uri().path().to_owned();
    let mut facts = Facts {
        protocol: "grpc",
        route: path.clone(),
        ..Facts::default()
    };
    let answer = match front.api.served(&path) {
        Some(served) => forward(front, served, request, id, &mut facts).await,
        None if front.is_local(&path) => {
            facts.route = "local".to_owned();
            local(front, request).await
        }
        None => {
            // Not from the caller's path: that would let outsiders make metrics.
            facts.route = "unknown".to_owned();
            let shown: String = path.chars().take(100).collect();
            Err(Failure::new(
                StatusCode::OK,
                Code::Unimplemented,
                "UNKNOWN_METHOD",
                format!("there is no method {shown} for callers outside the mesh"),
            ))
        }
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(failure) => {
            facts.reason = reason(&failure.status);
            failure.grpc()
        }
    };
    facts.code = response
        .headers()
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()));
    response.extensions_mut().insert(facts);
    response
}

async fn forward(
    front: &Front,
    served: &Served,
    request: Request<Body>,
    id: &HeaderValue,
    facts: &mut Facts,
) -> Result<Response<Body>, Failure> {
    if request.method() != Method::POST {
        let message = "gRPC calls are POST requests";
        return Err(Failure::new(
            StatusCode::OK,
            Code::Internal,
            "METHOD_NOT_ALLOWED",
            message,
        ));
    }
    let (mut head, body) = request.into_parts();
    let subject = front.auth.subject(served.access, &head.headers).await?;
    facts.subject.clone_from(&subject);
    let body = if served.is_client_streaming {
        body
    } else {
        // One message: read whole, so that a slow or huge one never reaches the mesh.
        let limit = front.max_body_bytes.saturating_add(5);
        body::full(input::read(&head.headers, body, limit).await?)
    };
    head.headers = headers::for_grpc(&head.headers, id, subject.as_deref());
    head.extensions.clear();
    let response = front
        .api
        .forward(served, Request::from_parts(head, body))
        .await;
    if response.headers().contains_key("grpc-status") {
        facts.reason = reason(&frames::status(response.headers()));
    }
    Ok(response)
}

/// Reflection and health, answered here.
async fn local(front: &Front, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let request = request.map(tonic::body::Body::new);
    // The router never fails.
    let response = front.local.clone().oneshot(request).await;
    let response = response.unwrap_or_else(|never| match never {});
    Ok(response.map(body::boxed))
}
