//! One accepted connection: the handshake, and HTTP/2 with limits against peers that flood or stall.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, Service, ServiceExt as _};
use tracing::{debug, warn};
use weft_identity::{Refusal, peer_id};

use super::{Caller, Server, Shared};
use crate::{Body, BodyError};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams one connection may have open.
const CONCURRENT_STREAMS: u32 = 256;
/// Decoded request headers.
const HEADER_LIST_BYTES: u32 = 32 * 1024;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Room for all streams: some that are not read must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = CONCURRENT_STREAMS * STREAM_WINDOW_BYTES;
/// A peer that does not answer a PING within the sum of both is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are asked to go after half the default life of a certificate, plus up to a tenth, so that
/// none lives on a certificate that ended long ago.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

impl Server {
    /// Serves `app` on one accepted connection, behind the rules, until the peer closes it; once
    /// `closing` is cancelled, open calls are finished and no more taken. A peer that cannot prove who it
    /// is gets nothing.
    ///
    /// Dropped, it cuts the connection.
    pub async fn connection<S, R>(&self, stream: TcpStream, app: S, closing: CancellationToken)
    where
        S: Service<Request<Body>, Response = Response<R>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BodyError>,
    {
        let Some((tls, caller)) = self.shared.accept(stream).await else {
            return;
        };
        let guarded = self.layer().layer(app);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            guarded.clone().oneshot(request)
        });
        let mut connection = pin!(builder().serve_connection(TokioIo::new(tls), service));
        let age = MAX_AGE.mul_f64(rand::random_range(1.0..1.1));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = async {
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = sleep(age) => {}
                }
            } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            debug!(error = &error as &dyn std::error::Error, "connection broke");
        }
    }
}

impl Shared {
    /// Makes a TLS connection of a TCP one. `None` if the peer does not prove who it is; that is
    /// counted and logged.
    pub(super) async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> Option<(TlsStream<TcpStream>, Caller)> {
        let peer = stream.peer_addr().ok();
        let _ = stream.set_nodelay(true);
        match self.handshake(stream).await {
            Ok(accepted) => Some(accepted),
            Err(refusal) => {
                self.refuse(peer, &refusal);
                None
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Caller), Refusal> {
        let expected = self.expected_caller();
        let stream = match timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Refusal::from_io(&error, &expected)),
            Err(_) => {
                return Err(Refusal::Broken {
                    reason: format!("it was not finished within {HANDSHAKE_TIMEOUT:?}"),
                });
            }
        };
        let connection = stream.get_ref().1;
        let caller = Caller(peer_id(connection)?.as_str().into());
        // rustls refuses another protocol, but lets a peer that names none pass.
        if connection.alpn_protocol() != Some(b"h2") {
            return Err(Refusal::Alpn);
        }
        Ok((stream, caller))
    }

    fn expected_caller(&self) -> String {
        let trust_domain = self.identity.bundle().trust_domain();
        format!("an identity of trust domain {trust_domain}")
    }

    fn refuse(&self, peer: Option<SocketAddr>, refusal: &Refusal) {
        let reason = refusal.reason();
        self.metrics.refused(reason);
        let expected = self.expected_caller();
        // Peers that connect and go away are port checks more often than attacks.
        if matches!(refusal, Refusal::Broken { .. }) {
            debug!(?peer, reason, error = %refusal, "inbound connection ended");
        } else {
            warn!(?peer, reason, expected, error = %refusal, "inbound connection refused");
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .auto_date_header(false);
    builder
}
