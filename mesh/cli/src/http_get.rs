//! A GET to an admin port of this machine.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// No page of an admin port is larger.
const MAX_BYTES: usize = 16 << 20;
const DEADLINE: Duration = Duration::from_secs(2);

/// Asks for `path` and returns status and body.
///
/// # Errors
///
/// If nobody answers in time.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(http::StatusCode, Bytes)> {
    let answer = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, which this future owns.
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path)
            .header(http::header::HOST, address.to_string())
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES)
            .collect()
            .await;
        connection.abort();
        let body = body.map_err(|error| anyhow::anyhow!(error))?;
        anyhow::Ok((status, body.to_bytes()))
    };
    timeout(DEADLINE, answer)
        .await
        .with_context(|| format!("no answer from {address} in {DEADLINE:?}"))?
        .with_context(|| format!("no answer from {address}"))
}
