//! nginx: one process, upstream connections kept, no access log. It opens one upstream connection per
//! call that is under way, and ends connections after 1,000 calls unless told otherwise.

use super::{Side, Stand};
use crate::certificates::SERVER_NAME;

/// Writes the configuration.
pub fn arguments(stand: &Stand<'_>) -> anyhow::Result<Vec<String>> {
    let file = |name| stand.certificate(name);
    let (tls, downstream) = match stand.tls {
        Some(Side::Downstream) => (
            "ssl ",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; \
                 ssl_verify_client on; ssl_protocols TLSv1.3;",
                file("server.pem"),
                file("server.key"),
                file("ca.pem")
            ),
        ),
        _ => ("", String::new()),
    };
    let (scheme, upstream) = match stand.tls {
        Some(Side::Upstream) => (
            "grpcs",
            format!(
                "grpc_ssl_certificate {}; grpc_ssl_certificate_key {}; \
                 grpc_ssl_trusted_certificate {}; grpc_ssl_verify on; grpc_ssl_name {SERVER_NAME}; \
                 grpc_ssl_server_name on; grpc_ssl_protocols TLSv1.3;",
                file("client.pem"),
                file("client.key"),
                file("ca.pem")
            ),
        ),
        _ => ("grpc", String::new()),
    };
    let folder = stand.folder.join(stand.name);
    std::fs::create_dir_all(&folder)?;
    let folder = folder.display();
    let config = format!(
        "daemon off;
master_process off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 4000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream app {{
    server {};
    keepalive 1000;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {} {tls}http2;
    {downstream}
    client_max_body_size 0;
    location / {{
      grpc_pass {scheme}://app;
      {upstream}
    }}
  }}
}}
",
        stand.upstream, stand.listen
    );
    let path = stand.write("conf", &config)?;
    Ok(["-c", &path, "-e", "stderr", "-p", &folder.to_string()]
        .map(str::to_owned)
        .to_vec())
}
