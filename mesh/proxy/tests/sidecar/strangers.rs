//! Whoever does not prove its name gets no word across, and both ends say who it was, what was expected
//! and what came.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt as _;
use weft_identity::{Expected, Identity, client_config, provider, server_name};

use crate::{
    attacker::{Door, greeting, open},
    echo::Echo,
    logs,
    support::{Mesh, Running, eventually},
};

/// A certificate and its key, whatever they are worth.
type Certificate = Option<Arc<CertifiedKey>>;

#[derive(Debug)]
struct Presents(Certificate);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Certificate {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Presents {
    fn resolve(&self, _: ClientHello<'_>) -> Certificate {
        self.0.clone()
    }
}

/// Accepts every server, so that the refusal is the server's.
#[derive(Debug)]
struct Blind;

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn of(identity: &Arc<Identity>) -> Certificate {
    let config = client_config(identity, Expected::Any).unwrap();
    config.client_auth_cert_resolver.resolve(&[], &[])
}

fn with_key(key: &KeyPair, certificate: CertificateDer<'static>) -> Certificate {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider().key_provider.load_private_key(key).unwrap();
    Some(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn self_signed(names: &[&str]) -> Certificate {
    let mut params = CertificateParams::default();
    let names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()));
    params.subject_alt_names.extend(names);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    with_key(&key, certificate.der().clone())
}

/// What the mesh's own root signs, as `change` makes it.
fn signed(mesh: &Mesh, account: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let read = |name| std::fs::read_to_string(mesh.dir().join("ca").join(name)).unwrap();
    let root_key = KeyPair::from_pem(&read("root-key.pem")).unwrap();
    let root = Issuer::from_ca_cert_pem(&read("root.pem"), root_key).unwrap();
    let mut params = CertificateParams::default();
    let id = mesh.id(account).to_string();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &root).unwrap();
    with_key(&key, certificate.der().clone())
}

fn malformed() -> Certificate {
    let bytes = b"\x30\x82\xff\xff not a certificate".to_vec();
    with_key(&KeyPair::generate().unwrap(), bytes.into())
}

/// One whose time is over within a second or two.
fn short(mesh: &Mesh, account: &str) -> Arc<Identity> {
    let id = mesh.id(account);
    let svid = mesh.authority.issue(&id, Duration::from_secs(1)).unwrap();
    Identity::new(svid, mesh.authority.bundle().clone())
}

/// The second in which a certificate ends is its last.
async fn is_over(identity: &Identity) {
    let svid = identity.svid();
    let is_over = || svid.is_expired(SystemTime::now() - Duration::from_secs(1));
    eventually("the certificate is over", is_over).await;
}

/// Whoever is refused for its certificate, by the reason that is logged and a word of what came. `wrong` is
/// what the other side of a connection uses a certificate for.
fn strangers(
    mesh: &Mesh,
    account: &str,
    wrong: ExtendedKeyUsagePurpose,
) -> Vec<(&'static str, String, Certificate)> {
    let id = mesh.id(account).to_string();
    let foreign = Mesh::new("foreign.local");
    let forged = Mesh::new("strangers.local");
    vec![
        (
            "OTHER_TRUST_DOMAIN",
            foreign.id(account).to_string(),
            of(&foreign.identity(account)),
        ),
        (
            "UNKNOWN_AUTHORITY",
            id.clone(),
            of(&forged.identity(account)),
        ),
        ("UNKNOWN_AUTHORITY", id.clone(), self_signed(&[&id])),
        (
            "NO_IDENTITY",
            "carries no identity".to_owned(),
            self_signed(&[]),
        ),
        (
            "NO_IDENTITY",
            "carries no identity".to_owned(),
            self_signed(&[&id, &mesh.id("other").to_string()]),
        ),
        (
            "NO_IDENTITY",
            "carries no identity".to_owned(),
            self_signed(&["https://strangers.local/orders"]),
        ),
        ("NO_IDENTITY", "carries no identity".to_owned(), malformed()),
        (
            "WRONG_PURPOSE",
            id.clone(),
            signed(mesh, account, |params| {
                params.extended_key_usages = vec![wrong]
            }),
        ),
        (
            "NOT_YET_VALID",
            id,
            signed(mesh, account, |params| {
                params.not_before = rcgen::date_time_ymd(2999, 1, 1);
            }),
        ),
    ]
}

/// Nobody has called the workload, nor asked its sidecar for a call.
fn nothing_came(echo: &Echo, server: &Running) {
    assert_eq!(echo.call_count(), 0);
    let metrics = server.metrics.encode();
    assert!(
        !metrics.contains("grpc_server_call_started_total{"),
        "{metrics}"
    );
}

fn client(
    certificate: Certificate,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_client_cert_resolver(Arc::new(Presents(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    config
}

fn without_h2(mut config: ClientConfig, protocols: &[&str]) -> ClientConfig {
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}

/// Connects, says all that a caller would, and hears nothing. Returns its address.
async fn is_refused(server: &Running, config: ClientConfig, what: &str) -> String {
    let door = Door::outbound(server);
    let door = Door {
        address: server.inbound,
        ..door
    };
    let (tcp, own) = door.knock().await;
    let name = server_name(server.inbound.ip());
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await;
    if let Ok(mut stream) = connected {
        let _ = stream
            .write_all(&[greeting(&[]), open(0, 1)].concat())
            .await;
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        let _ = ended.expect(what);
        assert_eq!(answer, b"", "it was answered");
    }
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_prove_no_name_are_refused_before_the_workload_hears_of_them() {
    let mesh = Mesh::new("strangers.local");
    let (echo, server, _) = mesh.echo().await;
    let expired = short(&mesh, "orders");
    let orders = mesh.id("orders").to_string();
    let mut callers: Vec<_> = strangers(&mesh, "orders", ExtendedKeyUsagePurpose::ServerAuth)
        .into_iter()
        .map(|(reason, word, certificate)| (reason, word, client(certificate, &TLS13)))
        .collect();
    let own = of(&mesh.identity("orders"));
    callers.extend([
        (
            "NO_CERTIFICATE",
            "presented no certificate".to_owned(),
            client(None, &TLS13),
        ),
        (
            "OLD_TLS",
            "offered no TLS 1.3".to_owned(),
            client(own.clone(), &TLS12),
        ),
        (
            "ALPN",
            "offered no ALPN protocol".to_owned(),
            without_h2(client(own.clone(), &TLS13), &[]),
        ),
        (
            "ALPN",
            "offered no ALPN protocol".to_owned(),
            without_h2(client(own, &TLS13), &["http/1.1"]),
        ),
    ]);
    is_over(&expired).await;
    callers.push(("EXPIRED", orders, client(of(&expired), &TLS13)));
    for (reason, word, config) in callers {
        let own = is_refused(&server, config, reason).await;
        let expected = "an identity of trust domain strangers.local";
        let refused = "inbound connection refused";
        logs::line(&[&own, refused, reason, expected, &word]).await;
    }
    for hello in [&greeting(&[])[..], b"GET / HTTP/1.1\r\nhost: echo\r\n\r\n"] {
        let door = Door {
            address: server.inbound,
            ..Door::outbound(&server)
        };
        let (mut tcp, own) = door.knock().await;
        tcp.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(1), tcp.read_to_end(&mut answer)).await;
        let _ = ended.expect("it is closed within a second");
        assert!(answer.len() <= 7, "more than an alert: {answer:?}");
        let words = "the peer spoke plaintext, expected TLS 1.3";
        logs::line(&[&own, "inbound connection refused", "PLAINTEXT", words]).await;
    }
    nothing_came(&echo, &server);
}

/// An endpoint that is not who it must be. Counts what it is told.
async fn endpoint(config: Option<ServerConfig>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let Some(acceptor) = &acceptor else {
                // A server without TLS: it says its SETTINGS at once.
                let _ = tcp.write_all(&greeting(&[])[24..]).await;
                continue;
            };
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut told = Vec::new();
            let _ = stream.read_to_end(&mut told).await;
            counted.fetch_add(told.len(), Ordering::SeqCst);
        }
    });
    (address, heard)
}

fn server(
    certificate: Certificate,
    version: &'static rustls::SupportedProtocolVersion,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Presents(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_prove_no_name_get_no_word_and_the_callers_sidecar_says_why() {
    let mesh = Mesh::new("strangers.local");
    let expired = short(&mesh, "echo");
    let echo = mesh.id("echo").to_string();
    let mut endpoints: Vec<_> = strangers(&mesh, "echo", ExtendedKeyUsagePurpose::ClientAuth)
        .into_iter()
        .map(|(reason, word, certificate)| (reason, word, Some(server(certificate, &TLS13))))
        .collect();
    let carts = mesh.id("carts").to_string();
    let right = of(&mesh.identity("echo"));
    let mut no_protocol = server(right.clone(), &TLS13);
    no_protocol.alpn_protocols.clear();
    endpoints.extend([
        (
            "OTHER_IDENTITY",
            carts,
            Some(server(of(&mesh.identity("carts")), &TLS13)),
        ),
        ("PLAINTEXT", "the peer spoke plaintext".to_owned(), None),
        (
            "REFUSED_BY_PEER",
            "it does not speak TLS 1.3".to_owned(),
            Some(server(right, &TLS12)),
        ),
        (
            "ALPN",
            "offered no ALPN protocol".to_owned(),
            Some(no_protocol),
        ),
    ]);
    is_over(&expired).await;
    endpoints.push(("EXPIRED", echo.clone(), Some(server(of(&expired), &TLS13))));
    // Each call is tried for a second.
    let refused = endpoints.into_iter().map(|(reason, word, config)| {
        let (mesh, echo) = (&mesh, &echo);
        async move {
            let (address, heard) = endpoint(config).await;
            let caller = mesh.caller("orders", &[address]).await;
            let status = caller.client().await.unary("hello").await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{reason}: {status:?}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, "UPSTREAM_CONNECT_FAILED", "{status:?}");
            assert!(status.message().contains(&word), "{reason}: {status:?}");
            let (address, refused) = (address.to_string(), "outbound connection refused");
            logs::line(&[&address, refused, reason, echo, &word]).await;
            let heard = heard.load(Ordering::SeqCst);
            assert_eq!(heard, 0, "{reason}: it was told something");
        }
    });
    futures::future::join_all(refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_both_ends_are_sidecars_both_say_why_they_do_not_connect() {
    let mesh = Mesh::new("strangers.local");
    let foreign = Mesh::new("foreign.local");
    let (echo, right, _) = mesh.echo().await;
    let (app, _) = echo.serve(CancellationToken::new()).await;
    let wrong = mesh.sidecar("carts", app, mesh.allowing(&["orders"])).await;
    let stranger = foreign.caller("orders", &[right.inbound]).await;
    let late = mesh.caller("orders", &[right.inbound]).await;
    let misled = mesh.caller("orders", &[wrong.inbound]).await;
    let id = mesh.id("orders");
    let svid = mesh.authority.issue(&id, Duration::from_secs(1)).unwrap();
    late.identity.replace(svid);
    is_over(&late.identity).await;

    let (expected, carts) = (mesh.id("echo"), mesh.id("carts"));
    for (caller, to, said_by_caller, said_by_server) in [
        // Each finds the other's name strange; the caller is the first to see one.
        (
            &stranger,
            &right,
            ["OTHER_TRUST_DOMAIN", expected.as_str()],
            ["REFUSED_BY_PEER", "refused this side's handshake"],
        ),
        (
            &late,
            &right,
            ["REFUSED_BY_PEER", "it does not accept the certificate"],
            ["EXPIRED", id.as_str()],
        ),
        (
            &misled,
            &wrong,
            ["OTHER_IDENTITY", carts.as_str()],
            ["REFUSED_BY_PEER", "refused this side's handshake"],
        ),
    ] {
        let status = caller.client().await.unary("hello").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let address = to.inbound.to_string();
        let [reason, word] = said_by_caller;
        logs::line(&[
            "outbound connection refused",
            &address,
            reason,
            word,
            "/sa/echo",
        ])
        .await;
        let [reason, word] = said_by_server;
        logs::line(&[
            "inbound connection refused",
            reason,
            word,
            "strangers.local",
        ])
        .await;
    }
    nothing_came(&echo, &right);
    nothing_came(&echo, &wrong);
}
