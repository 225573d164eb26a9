//! One HTTP/2 connection to a peer, with mutual TLS where the peer must prove who it is.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::debug;
use weft_identity::{Expected, Identity, Refusal, SpiffeId, client_config, server_name};

use crate::{
    pool::{Key, STREAMS_PER_CONNECTION},
    replay::AttemptBody,
};

/// A peer that vanished without a word is noticed within the sum of both.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Room for all streams: some that are not read must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_PER_CONNECTION * STREAM_WINDOW_BYTES;

pub(crate) type Opened = (SendRequest<AttemptBody>, BoxFuture<'static, ()>);

pub(crate) async fn open(identity: Option<Arc<Identity>>, key: &Key) -> Result<Opened, String> {
    let tcp = TcpStream::connect(key.address)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let _ = tcp.set_nodelay(true);
    match (&key.identity, identity) {
        (None, _) => http2(tcp, key).await,
        (Some(expected), Some(identity)) => {
            http2(handshake(&identity, expected, key.address, tcp).await?, key).await
        }
        (Some(_), None) => Err("this process has no identity to connect with".to_owned()),
    }
}

async fn http2<T>(io: T, key: &Key) -> Result<Opened, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = builder(key)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| format!("HTTP/2 handshake failed: {}", chain(&error)))?;
    let address = key.address;
    let driver = async move {
        if let Err(error) = connection.await {
            debug!(%address, error = chain(&error), "upstream connection broke");
        }
    };
    Ok((sender, driver.boxed()))
}

async fn handshake(
    identity: &Arc<Identity>,
    expected: &str,
    address: SocketAddr,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let id = SpiffeId::parse(expected).map_err(|error| chain(&error))?;
    let config = client_config(identity, Expected::Id(id)).map_err(|error| error.to_string())?;
    let name = server_name(address.ip());
    let tls = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| Refusal::from_io(&error, expected).to_string())?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Refusal::Alpn.to_string());
    }
    Ok(tls)
}

fn builder(key: &Key) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .max_header_list_size(64 * 1024);
    // Other gRPC servers than ours take PINGs that come more often than every 5 minutes for an attack.
    if key.identity.is_some() {
        builder
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
    }
    builder
}

/// An error with everything below it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
