//! HAProxy: one thread, upstream connections shared, no log.

use super::{Side, Stand};
use crate::certificates::SERVER_NAME;

/// Writes the configuration.
pub fn arguments(stand: &Stand<'_>) -> anyhow::Result<Vec<String>> {
    let (ca, own) = (stand.certificate("ca.pem"), |name| stand.certificate(name));
    let bind = match stand.tls {
        Some(Side::Downstream) => format!(
            "ssl crt {} ca-file {ca} verify required alpn h2 ssl-min-ver TLSv1.3",
            own("server.both")
        ),
        _ => "proto h2".to_owned(),
    };
    let server = match stand.tls {
        Some(Side::Upstream) => format!(
            "ssl crt {} ca-file {ca} verify required verifyhost {SERVER_NAME} sni str({SERVER_NAME}) \
             alpn h2 ssl-min-ver TLSv1.3",
            own("client.both")
        ),
        _ => "proto h2".to_owned(),
    };
    let config = format!(
        "global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend listener
  bind {} {bind}
  default_backend upstream
backend upstream
  server upstream {} {server}
",
        stand.listen, stand.upstream
    );
    let path = stand.write("cfg", &config)?;
    Ok(["-db", "-f", &path].map(str::to_owned).to_vec())
}
