//! Nobody gets in without a proven and allowed name, and the log says who tried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic_types::StatusExt;
use weft_identity::{Expected, bootstrap_client_config, client_config, server_name};

use crate::{
    logs,
    support::{Mesh, Running, eventually},
};

/// Sends an HTTP/2 preface over TLS and expects to be cut off without an answer.
async fn is_refused(server: &Running, config: Arc<rustls::ClientConfig>) -> String {
    let tcp = TcpStream::connect(server.inbound).await.unwrap();
    let own = tcp.local_addr().unwrap().to_string();
    let name = server_name(server.inbound.ip());
    if let Ok(mut stream) = TlsConnector::from(config).connect(name, tcp).await {
        let _ = stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "it was answered: {answer:?}");
    }
    own
}

#[tokio::test]
async fn plaintext_is_refused_and_logged() {
    let mesh = Mesh::new("identity.local");
    let (echo, server, _) = mesh.echo().await;
    let mut tcp = TcpStream::connect(server.inbound).await.unwrap();
    let own = tcp.local_addr().unwrap().to_string();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(1), tcp.read_to_end(&mut answer));
    let _ = closed.await.expect("it is closed within a second");
    logs::line(&[
        &own,
        "inbound connection refused",
        "the peer spoke plaintext",
    ])
    .await;
    assert_eq!(echo.call_count(), 0);
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused_and_logged() {
    let mesh = Mesh::new("identity.local");
    let (_echo, server, _) = mesh.echo().await;
    let bundle = mesh.identity("orders").bundle().clone();
    let config = bootstrap_client_config(bundle, Expected::Any).unwrap();
    let own = is_refused(&server, config).await;
    let line = logs::line(&[&own, "inbound connection refused", "NO_CERTIFICATE"]).await;
    assert!(
        line.contains("an identity of trust domain identity.local"),
        "{line}"
    );
}

#[tokio::test]
async fn a_peer_of_another_trust_domain_is_refused_and_logged() {
    let mesh = Mesh::new("identity.local");
    let foreign = Mesh::new("foreign.local");
    let (_echo, server, _) = mesh.echo().await;
    // It would accept anyone, so that the refusal is the server's.
    let config = AcceptsAnyone::config(&foreign);
    let own = is_refused(&server, config).await;
    let line = logs::line(&[&own, "inbound connection refused", "OTHER_TRUST_DOMAIN"]).await;
    assert!(
        line.contains("spiffe://foreign.local/ns/shop/sa/orders"),
        "{line}"
    );
}

struct AcceptsAnyone;

impl AcceptsAnyone {
    fn config(mesh: &Mesh) -> Arc<rustls::ClientConfig> {
        let identity = mesh.identity("orders");
        let template = client_config(&identity, Expected::Any).unwrap();
        let mut config = rustls::ClientConfig::clone(&template);
        config.dangerous().set_certificate_verifier(Arc::new(Blind));
        Arc::new(config)
    }
}

#[derive(Debug)]
struct Blind;

impl rustls::client::danger::ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn a_caller_without_a_rule_is_denied_until_a_rule_comes_on_the_same_connection() {
    let mesh = Mesh::new("identity.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("carts", &[server.inbound]).await;
    let mut client = caller.client().await;

    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("CALLER_NOT_ALLOWED", "weft.mesh")
    );
    assert_eq!(info.metadata["caller"], mesh.id("carts").as_str());
    assert_eq!(info.metadata["rule"], "default-deny");
    let carts = mesh.id("carts");
    logs::line(&[
        "CALLER_NOT_ALLOWED",
        carts.as_str(),
        "default-deny",
        "/test.Echo/Unary",
    ])
    .await;
    assert_eq!(echo.call_count(), 0);

    server.set(mesh.allowing(&["carts"]));
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    server.set(mesh.allowing(&[]));
    assert_eq!(
        client.unary("hello").await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(echo.call_count(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_somebody_else_gets_no_request() {
    let mesh = Mesh::new("identity.local");
    let (echo, _, _) = mesh.echo().await;
    let (app, _task) = echo.serve(tokio_util::sync::CancellationToken::new()).await;
    let impostor = mesh.sidecar("carts", app, mesh.allowing(&["orders"])).await;
    let caller = mesh.caller("orders", &[impostor.inbound]).await;
    let status = caller.client().await.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "UPSTREAM_CONNECT_FAILED");
    assert!(
        status.message().contains(mesh.id("carts").as_str()),
        "{status:?}"
    );
    assert!(
        status.message().contains(mesh.id("echo").as_str()),
        "{status:?}"
    );
    assert_eq!(echo.call_count(), 0);
}

#[tokio::test]
async fn a_peer_of_an_older_tls_is_refused_and_logged() {
    let mesh = Mesh::new("identity.local");
    let (echo, server, _) = mesh.echo().await;
    let modern = client_config(&mesh.identity("orders"), Expected::Any).unwrap();
    let provider = Arc::clone(modern.crypto_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_no_client_auth();
    let own = is_refused(&server, Arc::new(config)).await;
    let line = logs::line(&[&own, "inbound connection refused"]).await;
    assert!(line.contains("OLD_TLS"), "{line}");
    assert_eq!(echo.call_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_failed_call() {
    let mesh = Mesh::new("identity.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let good = Arc::new(AtomicUsize::new(0));
    let mut loads = Vec::new();
    for _ in 0..8 {
        let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
        let outbound = caller.client().await;
        loads.push(tokio::spawn(async move {
            let mut client = outbound;
            while !stop.load(Ordering::Relaxed) {
                client.unary("hello").await.unwrap();
                good.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..20 {
        for (running, account) in [(&server, "echo"), (&caller, "orders")] {
            let id = mesh.id(account);
            let svid = mesh.authority.issue(&id, Duration::from_secs(300)).unwrap();
            running.identity.replace(svid);
        }
        let before = good.load(Ordering::Relaxed);
        let goes_on = || good.load(Ordering::Relaxed) > before + 20;
        eventually("calls go on", goes_on).await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("no call failed");
    }
    let shown = &server.json("/certs").await["certificates"][0];
    assert!(shown["secondsLeft"].as_u64().unwrap() <= 300);
}
