//! Without a control plane there is no certificate: nothing passes, and everyone is told why.

use std::{net::SocketAddr, path::Path, time::Duration};

use clap::Parser;
use http::Uri;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, client::Grpc, transport::Endpoint};
use tonic_types::StatusExt;
use weft_proxy::Args;

use crate::{
    logs,
    support::{AUTHORITY, Client, Mesh, eventually, nobody},
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// A sidecar that has never had a certificate and asks at `control`.
async fn args(mesh: &Mesh, dir: &Path, control: &str, listen: [SocketAddr; 2]) -> Args {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("root.pem"), mesh.authority.root_pem()).unwrap();
    std::fs::write(file("token"), "not yet asked for").unwrap();
    let flags = [
        ("service", "orders".to_owned()),
        ("instance", "orders-1".to_owned()),
        ("app", nobody().await.to_string()),
        ("inbound-listen", listen[0].to_string()),
        ("outbound-listen", listen[1].to_string()),
        ("admin-listen", "127.0.0.1:0".to_owned()),
        ("control", control.to_owned()),
        ("trust-bundle", file("root.pem")),
        ("token-file", file("token")),
        ("state-dir", file("state")),
        ("ready-file", file("ready")),
    ];
    let flags = flags
        .into_iter()
        .flat_map(|(name, value)| [format!("--{name}"), value]);
    Cli::parse_from(["weft".to_owned()].into_iter().chain(flags)).args
}

#[tokio::test]
async fn plaintext_is_taken_on_loopback_only() {
    let mesh = Mesh::new("cold.local");
    let dir = tempfile::tempdir().unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let listen = [nobody().await, everywhere];
    let args = args(&mesh, dir.path(), "https://127.0.0.1:1", listen).await;
    let served = weft_proxy::serve(args, CancellationToken::new());
    let served = timeout(Duration::from_secs(5), served).await;
    let error = served.expect("it ends").unwrap_err().to_string();
    assert!(
        error.contains("--outbound-listen 0.0.0.0:0 is no loopback"),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_certificate_calls_are_refused_with_a_reason() {
    let mesh = Mesh::new("cold.local");
    let dir = tempfile::tempdir().unwrap();
    let (inbound, outbound) = (nobody().await, nobody().await);
    let control = format!("https://{}", nobody().await);
    let args = args(&mesh, dir.path(), &control, [inbound, outbound]).await;
    let shutdown = CancellationToken::new();
    let sidecar = tokio::spawn(weft_proxy::serve(args, shutdown.clone()));
    eventually("the outbound port is taken", || {
        std::net::TcpStream::connect(outbound).is_ok()
    })
    .await;

    let origin: Uri = format!("http://{AUTHORITY}").parse().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{outbound}")).unwrap();
    let channel = endpoint.origin(origin).connect_lazy();
    let call = async { Client(Grpc::new(channel)).unary("hello").await };
    let status = timeout(Duration::from_secs(5), call)
        .await
        .expect("it is answered")
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "NO_IDENTITY");
    assert_eq!(info.metadata["target"], AUTHORITY);
    let error = TcpStream::connect(inbound).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!dir.path().join("ready").exists());
    logs::line(&[&control, "no certificate yet, trying again"]).await;
    logs::line(&["no certificate yet, calls are refused"]).await;
    logs::line(&["outbound call refused", "NO_IDENTITY", AUTHORITY]).await;

    shutdown.cancel();
    let ended = timeout(Duration::from_secs(5), sidecar).await;
    ended.expect("it ends").unwrap().unwrap();
}
