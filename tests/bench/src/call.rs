//! One call, with a fresh trace context and deadline, as real clients send them. Every answer is checked.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use h2::client::{self, SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use rand::Rng as _;
use tokio::{net::TcpStream, time::timeout};

use crate::echo::{CONNECTION_WINDOW, STREAM_WINDOW};

/// The name that is called; the mesh file of the shop knows it.
const URI: &str = "http://catalogue:7070/sockshop.catalogue.v1.CatalogueService/BatchGetVariants";
/// Makes one call over a connection of its own.
///
/// # Errors
///
/// If anything about the answer is not as it should be.
pub async fn probe(address: SocketAddr) -> anyhow::Result<()> {
    let attempt = async {
        let connection = connect(address).await?;
        call(connection, &framed(100)).await
    };
    timeout(Duration::from_secs(1), attempt).await?
}

/// Opens a connection.
///
/// # Errors
///
/// If nobody listens, or what listens does not speak HTTP/2.
pub async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let tcp = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    tcp.set_nodelay(true)?;
    let (sender, connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(tcp)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Makes one call and checks its answer.
///
/// # Errors
///
/// If anything about the answer is not as it should be.
pub async fn call(connection: SendRequest<Bytes>, message: &Bytes) -> anyhow::Result<()> {
    let mut connection = connection.ready().await?;
    let (response, mut stream) = connection.send_request(request(), false)?;
    stream.send_data(message.clone(), true)?;
    let response = response.await?;
    ensure!(
        response.status() == 200,
        "HTTP status {}",
        response.status()
    );
    let early = response.headers().get("grpc-status").cloned();
    let detail = response.headers().get("grpc-message").cloned();
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        received += chunk.len();
        body.flow_control().release_capacity(chunk.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = trailers.get("grpc-status").cloned().or(early);
    ensure!(
        status.as_ref().is_some_and(|status| status == "0"),
        "gRPC status {status:?}, {detail:?}"
    );
    ensure!(
        received == message.len(),
        "sent {} bytes, got {received}",
        message.len()
    );
    Ok(())
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(URI);
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("grpc-rust-bench/1.0"),
    );
    let mut random = rand::rng();
    let (trace, span): (u128, u64) = (random.random(), random.random());
    let fresh = [
        ("traceparent", format!("00-{trace:032x}-{span:016x}-01")),
        (
            "grpc-timeout",
            format!("{}u", random.random_range(1_000_000..2_000_000)),
        ),
    ];
    for (name, value) in fresh {
        // Hex digits, dashes and letters are always a header value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    request
}

/// A gRPC message of random bytes, so that nothing can be gained by knowing them.
pub fn framed(payload: usize) -> Bytes {
    let mut bytes = BytesMut::zeroed(5 + payload);
    if let Some((head, body)) = bytes.split_first_chunk_mut::<5>() {
        let [_, length @ ..] = head;
        *length = u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes();
        rand::rng().fill(body);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_calls_have_the_same_trace_context() {
        let (one, other) = (request(), request());
        assert_ne!(one.headers()["traceparent"], other.headers()["traceparent"]);
        assert_eq!(one.headers()["traceparent"].len(), 55);
    }

    #[test]
    fn a_message_has_its_length_before_it() {
        let message = framed(258);
        assert_eq!(&message[..5], [0, 0, 0, 1, 2]);
        assert_eq!(message.len(), 263);
    }
}
