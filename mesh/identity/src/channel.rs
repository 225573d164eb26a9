//! The gRPC channel to the control plane.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::Refusal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the control plane listens: `https://127.0.0.1:15012`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUri {
    host: String,
    port: u16,
}

/// The text is not `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form `https://HOST:PORT`")]
pub struct InvalidControlUri(String);

impl FromStr for ControlUri {
    type Err = InvalidControlUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidControlUri(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        match (uri.scheme_str(), uri.host(), uri.port_u16()) {
            (Some("https"), Some(host), Some(port)) if plain => Ok(Self {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for ControlUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// A channel over `tls` that connects when it is first used and again whenever its connection is lost.
/// A call on a lost connection fails with `UNAVAILABLE`; callers retry with backoff.
///
/// # Panics
/// Outside a tokio runtime.
pub fn channel(control: &ControlUri, tls: Arc<ClientConfig>) -> Channel {
    let connector = TlsConnector::from(tls);
    let target = control.clone();
    // The scheme only says what `:scheme` will be; the connector below always speaks TLS.
    Endpoint::from(Uri::from_static("http://control"))
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            let target = target.clone();
            async move { connect(connector, target).await.map(TokioIo::new) }
        }))
}

async fn connect(connector: TlsConnector, target: ControlUri) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(target.host)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    connector
        .connect(name, stream)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => error,
            _ => io::Error::other(Refusal::from_io(&error, "the control plane")),
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn control_uri_needs_scheme_host_and_port() {
        for good in [
            "https://127.0.0.1:15012",
            "https://control:1",
            "https://[::1]:9",
        ] {
            let uri: ControlUri = good.parse().unwrap();
            assert_eq!(uri.to_string(), good);
        }
        for bad in [
            "127.0.0.1:1",
            "http://a:1",
            "https://a",
            "https://a:1/x",
            "",
        ] {
            assert!(bad.parse::<ControlUri>().is_err(), "{bad}");
        }
    }
}
