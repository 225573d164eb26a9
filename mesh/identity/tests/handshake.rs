//! Real handshakes over loopback: who is let in, who is not, and what is said about it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weft_identity::{
    CertificateAuthority, Expected, Identity, Refusal, SpiffeId, TrustDomain,
    bootstrap_client_config, client_config, peer_id, server_config, server_name,
};

const HOUR: Duration = Duration::from_secs(3600);

struct Mesh {
    authority: CertificateAuthority,
    _dir: tempfile::TempDir,
}

impl Mesh {
    fn new(trust_domain: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new(trust_domain).unwrap();
        let authority = CertificateAuthority::open(dir.path(), &trust_domain).unwrap();
        Self {
            authority,
            _dir: dir,
        }
    }

    fn id(&self, account: &str) -> SpiffeId {
        SpiffeId::workload(self.authority.trust_domain(), "shop", account).unwrap()
    }

    fn identity(&self, account: &str) -> Arc<Identity> {
        let svid = self.authority.issue(&self.id(account), HOUR).unwrap();
        Identity::new(svid, self.authority.bundle().clone())
    }
}

/// Both ends of one handshake: what the server says of the client, and the client of the server.
async fn shake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Result<SpiffeId, Refusal>, Result<SpiffeId, Refusal>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server)
            .accept(stream)
            .await
            .map_err(|error| Refusal::from_io(&error, "an identity of td.one"))?;
        stream.write_all(b"hello").await.unwrap();
        peer_id(stream.get_ref().1)
    };
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let refuse = |error: io::Error| Refusal::from_io(&error, "server");
        let mut stream = TlsConnector::from(client)
            .connect(server_name(address.ip()), stream)
            .await
            .map_err(refuse)?;
        // With TLS 1.3 a refused client learns it at its first read.
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.map_err(refuse)?;
        peer_id(stream.get_ref().1)
    };
    tokio::join!(serving, calling)
}

#[tokio::test]
async fn both_sides_know_each_other_by_spiffe_id() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("payments")).unwrap();
    let expected = Expected::Id(mesh.id("payments"));
    let client = client_config(&mesh.identity("orders"), expected).unwrap();
    let (client_seen, server_seen) = shake(server, client).await;
    assert_eq!(client_seen.unwrap(), mesh.id("orders"));
    assert_eq!(server_seen.unwrap(), mesh.id("payments"));
}

#[tokio::test]
async fn client_refuses_a_server_with_another_identity() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("carts")).unwrap();
    let expected = Expected::Id(mesh.id("payments"));
    let client = client_config(&mesh.identity("orders"), expected).unwrap();
    let (client_seen, server_seen) = shake(server, client).await;
    let refusal = server_seen.unwrap_err();
    assert_eq!(refusal.reason(), "OTHER_IDENTITY");
    assert_eq!(
        refusal.to_string(),
        "the peer is spiffe://td.one/ns/shop/sa/carts, expected spiffe://td.one/ns/shop/sa/payments"
    );
    assert_eq!(client_seen.unwrap_err().reason(), "REFUSED_BY_PEER");
}

#[tokio::test]
async fn server_refuses_a_client_without_a_certificate() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("payments")).unwrap();
    let bundle = mesh.authority.bundle().clone();
    let client = bootstrap_client_config(bundle, Expected::Any).unwrap();
    let (client_seen, server_seen) = shake(server, client).await;
    assert_eq!(client_seen.unwrap_err().reason(), "NO_CERTIFICATE");
    let told = server_seen.unwrap_err();
    assert!(told.to_string().contains("demands a certificate"), "{told}");
}

#[tokio::test]
async fn server_refuses_another_trust_domain_by_name() {
    let (one, other) = (Mesh::new("td.one"), Mesh::new("td.other"));
    let server = server_config(&one.identity("payments")).unwrap();
    let stranger = Identity::new(
        (*other.identity("orders").svid()).clone(),
        one.authority.bundle().clone(),
    );
    let client = client_config(&stranger, Expected::Any).unwrap();
    let (client_seen, _) = shake(server, client).await;
    let refusal = client_seen.unwrap_err();
    assert_eq!(refusal.reason(), "OTHER_TRUST_DOMAIN");
    assert!(
        refusal
            .to_string()
            .contains("spiffe://td.other/ns/shop/sa/orders")
    );
}

#[tokio::test]
async fn server_refuses_a_forged_authority_of_its_own_trust_domain() {
    let (one, forged) = (Mesh::new("td.one"), Mesh::new("td.one"));
    let server = server_config(&one.identity("payments")).unwrap();
    let stranger = Identity::new(
        (*forged.identity("orders").svid()).clone(),
        one.authority.bundle().clone(),
    );
    let client = client_config(&stranger, Expected::Any).unwrap();
    let (client_seen, _) = shake(server, client).await;
    let refusal = client_seen.unwrap_err();
    assert_eq!(refusal.reason(), "UNKNOWN_AUTHORITY", "{refusal}");
}

#[tokio::test]
async fn server_refuses_an_expired_certificate() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("payments")).unwrap();
    let short = mesh
        .authority
        .issue(&mesh.id("orders"), Duration::from_millis(1))
        .unwrap();
    let identity = Identity::new(short, mesh.authority.bundle().clone());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !identity
        .svid()
        .is_expired(std::time::SystemTime::now() - Duration::from_secs(1))
    {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = client_config(&identity, Expected::Any).unwrap();
    let (client_seen, _) = shake(server, client).await;
    assert_eq!(client_seen.unwrap_err().reason(), "EXPIRED");
}

#[tokio::test]
async fn plaintext_is_recognised() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("payments")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let error = TlsAcceptor::from(server).accept(stream).await.unwrap_err();
    assert_eq!(Refusal::from_io(&error, ""), Refusal::Plaintext);
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let mesh = Mesh::new("td.one");
    let server = server_config(&mesh.identity("payments")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = mesh.authority.root_pem();
    let root =
        <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(
            pem.as_bytes(),
        );
    roots.add(root.unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(weft_identity::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client_seen, _) = shake(server, Arc::new(client)).await;
    assert_eq!(client_seen.unwrap_err(), Refusal::OldTls);
}

#[tokio::test]
async fn new_certificate_is_presented_by_an_open_listener() {
    let mesh = Mesh::new("td.one");
    let payments = mesh.identity("payments");
    let orders = mesh.identity("orders");
    let server = server_config(&payments).unwrap();
    let client = client_config(&orders, Expected::Id(mesh.id("payments"))).unwrap();
    shake(Arc::clone(&server), Arc::clone(&client))
        .await
        .1
        .unwrap();

    let mut renewed = payments.subscribe();
    payments.replace(mesh.authority.issue(&mesh.id("carts"), HOUR).unwrap());
    orders.replace(mesh.authority.issue(&mesh.id("edge"), HOUR).unwrap());
    assert!(renewed.has_changed().unwrap());
    assert_eq!(renewed.borrow_and_update().id(), &mesh.id("carts"));

    let (_, server_seen) = shake(Arc::clone(&server), client).await;
    assert_eq!(server_seen.unwrap_err().reason(), "OTHER_IDENTITY");
    let client = client_config(&orders, Expected::Id(mesh.id("carts"))).unwrap();
    let (client_seen, _) = shake(server, client).await;
    assert_eq!(client_seen.unwrap(), mesh.id("edge"));
}
