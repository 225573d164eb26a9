//! The server behind every proxy: gRPC by hand on `h2`, so that it costs little itself.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use h2::{RecvStream, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// `SERVING`, as a framed `grpc.health.v1.HealthCheckResponse`.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Windows of both ends of the benchmark: large enough never to be what a proxy waits for.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// As [`STREAM_WINDOW`], for all streams of a connection.
pub const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where the server listens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A loopback address.
    #[arg(long)]
    listen: SocketAddr,
}

/// Serves until the process is ended.
///
/// # Errors
///
/// If it cannot listen.
pub async fn serve(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    loop {
        match listener.accept().await {
            // The client sees a broken connection, and counts the error.
            Ok((tcp, _)) => drop(tokio::spawn(connection(tcp))),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(tcp: TcpStream) -> Result<(), h2::Error> {
    let _ = tcp.set_nodelay(true);
    let mut connection = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(10_000)
        .handshake::<_, Bytes>(tcp)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(call(request, respond));
    }
    Ok(())
}

async fn call(
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let health = request.uri().path() == HEALTH;
    let mut body = request.into_body();
    let mut chunks = Vec::with_capacity(1);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        chunks.push(chunk);
    }
    body.trailers().await?;
    if health {
        chunks = vec![Bytes::from_static(SERVING)];
    }
    let mut response = Response::new(());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut stream = respond.send_response(response, false)?;
    for chunk in chunks {
        stream.send_data(chunk, false)?;
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
