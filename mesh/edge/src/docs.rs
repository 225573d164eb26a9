//! `/openapi.json`, and `/docs`, a page that shows it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use weft_channel::{Body, body};

/// The paths and what is there.
#[derive(Debug)]
pub(crate) struct Docs {
    files: [(&'static str, &'static str, Bytes, HeaderValue); 4],
}

impl Docs {
    pub(crate) fn new(document: &serde_json::Value) -> Self {
        let file = |path, kind, content: Bytes| {
            let digest = ring::digest::digest(&ring::digest::SHA256, &content);
            let tag = format!(
                "\"{}\"",
                BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..15])
            );
            let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
            (path, kind, content, tag)
        };
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        Self {
            files: [
                file(
                    "/openapi.json",
                    "application/json",
                    document.to_string().into(),
                ),
                file(
                    "/docs",
                    "text/html; charset=utf-8",
                    text(include_str!("docs/docs.html")),
                ),
                file(
                    "/docs.css",
                    "text/css; charset=utf-8",
                    text(include_str!("docs/docs.css")),
                ),
                file(
                    "/docs.js",
                    "text/javascript; charset=utf-8",
                    text(include_str!("docs/docs.js")),
                ),
            ],
        }
    }

    /// The answer for one of the paths.
    pub(crate) fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let (_, kind, content, tag) = self.files.iter().find(|(found, ..)| *found == path)?;
        let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
        let mut response = Response::new(body::empty());
        match *method {
            Method::GET | Method::HEAD => {}
            _ => {
                let is_question = *method == Method::OPTIONS;
                *response.status_mut() = match is_question {
                    true => StatusCode::NO_CONTENT,
                    false => StatusCode::METHOD_NOT_ALLOWED,
                };
                response.headers_mut().insert(header::ALLOW, allow);
                return Some(response);
            }
        }
        if headers.get(header::IF_NONE_MATCH) == Some(tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = body::full(content.clone());
            let kind = HeaderValue::from_static(kind);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response.headers_mut().insert(header::ETAG, tag.clone());
        let cache = HeaderValue::from_static("no-cache");
        response.headers_mut().insert(header::CACHE_CONTROL, cache);
        Some(response)
    }
}
