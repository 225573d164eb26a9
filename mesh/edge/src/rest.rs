//! One REST request: check it, call the method, write the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use tonic::Code;
use weft_channel::{Body, body};
use weft_transcode::{BodyRule, Call, Match, Payload};

use crate::{
    api::{Served, rpc_path},
    failure::Failure,
    front::{Facts, Front},
    headers, input,
    stream::{self, Encoder},
};

/// Answers a request that matched a binding.
pub(crate) async fn serve(
    front: &Front,
    found: Match<'_>,
    request: Request<Body>,
    id: &HeaderValue,
) -> Response<Body> {
    let path = rpc_path(&found.route.method);
    let mut facts = Facts {
        route: path.clone(),
        ..Facts::default()
    };
    let answer = answer(front, &found, &path, request, id, &mut facts).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(failure) => {
            facts.code = Some(failure.status.code());
            facts.reason = crate::front::reason(&failure.status);
            failure.rest(&front.api.plans)
        }
    };
    response.extensions_mut().insert(facts);
    response
}

async fn answer(
    front: &Front,
    found: &Match<'_>,
    path: &str,
    request: Request<Body>,
    id: &HeaderValue,
    facts: &mut Facts,
) -> Result<Response<Body>, Failure> {
    let served = front.api.served(path).ok_or_else(|| {
        let message = "the method is not served";
        Failure::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            "UNKNOWN_PATH",
            message,
        )
    })?;
    let (head, body) = request.into_parts();
    let subject = front.auth.subject(served.access, &head.headers).await?;
    facts.subject.clone_from(&subject);
    let body = read_body(front, found, &head, body).await?;
    let call = Call {
        query: head.uri.query(),
        content_type: text(&head, header::CONTENT_TYPE),
        body: &body,
    };
    let plans = &front.api.plans;
    let message = found
        .request(plans, call)
        .map_err(|error| Failure::invalid(&error))?;
    let sent = headers::for_rest(&head.headers, id, subject.as_deref());
    if served.is_server_streaming {
        return stream(front, found, served, path, sent, &message, &head).await;
    }
    let answer = front.api.unary(served, path, sent, &message).await;
    let answer = answer.map_err(Failure::upstream)?;
    let payload = found
        .route
        .response(plans, &answer)
        .map_err(|error| Failure::internal(&error))?;
    Ok(unary_response(payload, served))
}

async fn stream(
    front: &Front,
    found: &Match<'_>,
    served: &Served,
    path: &str,
    sent: http::HeaderMap,
    message: &[u8],
    head: &request::Parts,
) -> Result<Response<Body>, Failure> {
    let frames = front.api.call(served, path, sent, message).await;
    let frames = frames.map_err(Failure::upstream)?;
    let encoder = Encoder {
        api: Arc::clone(&front.api),
        route: found.route.clone(),
    };
    let response = stream::respond(frames, encoder, &head.headers).await;
    response.map_err(Failure::upstream)
}

fn text(head: &request::Parts, name: http::HeaderName) -> Option<&str> {
    head.headers.get(name)?.to_str().ok()
}

/// The body, if the method takes it in this form.
async fn read_body(
    front: &Front,
    found: &Match<'_>,
    head: &request::Parts,
    body: Body,
) -> Result<Bytes, Failure> {
    if text(head, header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let message = "compressed request bodies are not taken";
        return Err(unsupported("UNSUPPORTED_ENCODING", message));
    }
    let bytes = input::read(&head.headers, body, front.max_body_bytes).await?;
    let takes_json =
        !matches!(found.route.body, BodyRule::None) && !found.takes_raw_body(&front.api.plans);
    if takes_json && !bytes.is_empty() {
        match text(head, header::CONTENT_TYPE) {
            Some(kind) if !is_json(kind) => {
                let message = "the body must be JSON: send `content-type: application/json`, \
                               with curl by `--json`";
                return Err(unsupported("UNSUPPORTED_CONTENT_TYPE", message));
            }
            _ => {}
        }
    }
    Ok(bytes)
}

fn unsupported(reason: &'static str, message: &str) -> Failure {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Failure::new(status, Code::InvalidArgument, reason, message)
        .with_header(header::ACCEPT, "application/json")
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn unary_response(payload: Payload, served: &Served) -> Response<Body> {
    let (kind, data, cache) = match payload {
        Payload::Json(json) => ("application/json".to_owned(), json, "no-store"),
        Payload::Raw { content_type, data } => {
            let public = served.is_read_only && served.access == crate::api::Access::Public;
            let cache = if public {
                "public, max-age=300"
            } else {
                "no-store"
            };
            (content_type, data, cache)
        }
    };
    let kind = HeaderValue::try_from(kind)
        .ok()
        .filter(|kind| !kind.is_empty())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(body::full(data));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let cache = HeaderValue::from_static(cache);
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}

/// The answer to a method the path does not have, or to `OPTIONS`.
pub(crate) fn not_allowed(front: &Front, method: &Method, allowed: &[String]) -> Response<Body> {
    let allow = allowed.join(", ");
    if method == Method::OPTIONS {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        return response;
    }
    let message = format!("{method} is not possible here, only {allow}");
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unimplemented,
        "METHOD_NOT_ALLOWED",
        message,
    )
    .with_header(header::ALLOW, &allow)
    .rest(&front.api.plans)
}

/// The answer to a path nothing is at.
pub(crate) fn not_found(front: &Front, path: &str) -> Response<Body> {
    let shown: String = path.chars().take(100).collect();
    Failure::new(
        StatusCode::NOT_FOUND,
        Code::NotFound,
        "UNKNOWN_PATH",
        format!("nothing is at {shown}; /openapi.json lists what there is"),
    )
    .rest(&front.api.plans)
}
