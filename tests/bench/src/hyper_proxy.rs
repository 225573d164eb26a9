//! A bare reverse proxy on hyper: no routing, no policy, no metrics. It shows what a proxy on hyper's
//! HTTP/2 costs at least. One thread, one upstream connection.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2::{self as client, SendRequest},
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OnceCell,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{certificates, echo};

/// Where the proxy stands.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A loopback address.
    #[arg(long)]
    listen: SocketAddr,
    /// Where calls go.
    #[arg(long)]
    upstream: SocketAddr,
    /// On which side there is mutual TLS. Default: on none.
    #[arg(long, requires = "certificates")]
    tls: Option<Side>,
    /// The folder with the certificates.
    #[arg(long)]
    certificates: Option<PathBuf>,
}

/// A side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// The listener demands it: the second proxy of a pair.
    Downstream,
    /// The upstream connection uses it: the first proxy of a pair.
    Upstream,
}

type Sender = SendRequest<Incoming>;

struct Upstream {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    sender: OnceCell<Sender>,
}

/// Serves until the process is ended.
///
/// # Errors
///
/// If it cannot listen, or the certificates cannot be read.
pub async fn serve(args: Args) -> anyhow::Result<()> {
    let folder = args.certificates.clone().unwrap_or_default();
    let acceptor = match args.tls {
        Some(Side::Downstream) => Some(TlsAcceptor::from(certificates::server_config(&folder)?)),
        _ => None,
    };
    let connector = match args.tls {
        Some(Side::Upstream) => Some(TlsConnector::from(certificates::client_config(&folder)?)),
        _ => None,
    };
    let upstream = Arc::new(Upstream {
        address: args.upstream,
        tls: connector,
        sender: OnceCell::new(),
    });
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = tcp.set_nodelay(true);
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        tokio::spawn(async move {
            match acceptor {
                None => connection(tcp, upstream).await,
                Some(acceptor) => {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        connection(tls, upstream).await;
                    }
                }
            }
        });
    }
}

async fn connection(io: impl AsyncRead + AsyncWrite + Unpin, upstream: Arc<Upstream>) {
    let service = service_fn(move |request| forward(upstream.clone(), request));
    // Whatever ends the connection, the client sees and counts it.
    let _ = server::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(echo::STREAM_WINDOW)
        .initial_connection_window_size(echo::CONNECTION_WINDOW)
        .max_concurrent_streams(10_000)
        .serve_connection(TokioIo::new(io), service)
        .await;
}

async fn forward(
    upstream: Arc<Upstream>,
    request: Request<Incoming>,
) -> hyper::Result<Response<Either<Incoming, Empty<Bytes>>>> {
    let Ok(sender) = upstream.sender.get_or_try_init(|| upstream.connect()).await else {
        let mut response = Response::new(Either::Right(Empty::new()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    let response = sender.clone().send_request(request).await?;
    Ok(response.map(Either::Left))
}

impl Upstream {
    async fn connect(&self) -> anyhow::Result<Sender> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => Self::handshake(tcp).await,
            Some(tls) => {
                let name = ServerName::try_from(certificates::SERVER_NAME)?;
                Self::handshake(tls.connect(name, tcp).await?).await
            }
        }
    }

    async fn handshake(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Sender> {
        let (sender, connection) = client::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(echo::STREAM_WINDOW)
            .initial_connection_window_size(echo::CONNECTION_WINDOW)
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
