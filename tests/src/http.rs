//! A plain HTTP/1.1 client: one connection per call, every wait with a deadline.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// How long a call may take before the test fails.
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// What the edge answered.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `reason` of the `google.rpc.ErrorInfo` in an error, or an empty string.
    pub fn reason(&self) -> String {
        self.detail("ErrorInfo")["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The first error detail whose type ends with `kind`; `null` if there is none.
    pub fn detail(&self, kind: &str) -> Value {
        self.json()["details"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|detail| {
                detail["@type"]
                    .as_str()
                    .is_some_and(|name| name.ends_with(kind))
            })
            .cloned()
            .unwrap_or_default()
    }

    /// The field names of a `google.rpc.BadRequest` in an error.
    pub fn fields(&self) -> Vec<String> {
        self.detail("BadRequest")["fieldViolations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|violation| Some(violation["field"].as_str()?.to_owned()))
            .collect()
    }
}

/// Sends one request. `token` goes into `Authorization: Bearer`.
pub async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    content_type: Option<&str>,
    body: impl Into<Bytes>,
) -> Result<Reply> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.test");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Full::new(body.into()))?;
    timeout(CALL_DEADLINE, exchange(address, request))
        .await
        .with_context(|| format!("no answer from {address}{path} within {CALL_DEADLINE:?}"))?
        .with_context(|| format!("calling {address}{path}"))
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}
