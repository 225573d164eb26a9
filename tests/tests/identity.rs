//! Nobody reaches a service without an identity the mesh issued and a rule that allows it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use contracts::sockshop::payments::v1::{
    CapturePaymentRequest, payment_service_client::PaymentServiceClient,
};
use e2e::{Shop, until};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status, transport::Endpoint};
use weft_identity::{
    CertificateAuthority, Expected, Identity, SpiffeId, TrustDomain, bootstrap_client_config,
    client_config, server_name,
};

const LOG_DEADLINE: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn inbound(shop: &Shop) -> SocketAddr {
    let sidecar = shop.process("payments-1-sidecar").unwrap();
    sidecar["ports"]["inbound"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// Calls payments' sidecar over TLS as `config` says.
async fn call(shop: &Shop, config: Arc<rustls::ClientConfig>) -> Result<(), Status> {
    let address = inbound(shop);
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = TlsConnector::from(config.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            let stream = tls.connect(server_name(address.ip()), tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://payments:7070")
        .connect_with_connector(connector)
        .await
        .map_err(|error| Status::unavailable(format!("{error:?}")))?;
    PaymentServiceClient::new(channel)
        .capture_payment(CapturePaymentRequest {
            name: "payments/none".into(),
        })
        .await
        .map(drop)
}

/// An identity that the shop's own certificate authority issued.
fn shop_identity(shop: &Shop, account: &str) -> Arc<Identity> {
    let domain = TrustDomain::new("sockshop.local").unwrap();
    let authority = CertificateAuthority::open(&shop.data().join("control"), &domain).unwrap();
    let id = SpiffeId::workload(&domain, "shop", account).unwrap();
    Identity::new(
        authority.issue(&id, HOUR).unwrap(),
        authority.bundle().clone(),
    )
}

fn payments() -> Expected {
    Expected::Id(SpiffeId::parse("spiffe://sockshop.local/ns/shop/sa/payments").unwrap())
}

async fn logged(shop: &Shop, words: &[&str]) {
    until(
        &format!("the sidecar's log says {words:?}"),
        LOG_DEADLINE,
        async || {
            let log = shop.log("payments-1-sidecar");
            Ok(log
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
                .then_some(()))
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_allowed_caller_is_answered() {
    let shop = Shop::shared().await;
    let identity = shop_identity(shop, "orders");
    let status = call(shop, client_config(&identity, payments()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        status.code(),
        Code::NotFound,
        "the service itself answers: {status}"
    );
}

#[tokio::test]
async fn a_caller_no_rule_allows_is_refused_and_logged() {
    let shop = Shop::shared().await;
    let identity = shop_identity(shop, "notifications");
    let status = call(shop, client_config(&identity, payments()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    logged(
        shop,
        &["CALLER_NOT_ALLOWED", "sa/notifications", "CapturePayment"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused_and_logged() {
    let shop = Shop::shared().await;
    let bundle = shop_identity(shop, "orders").bundle().clone();
    call(shop, bootstrap_client_config(bundle, payments()).unwrap())
        .await
        .unwrap_err();
    logged(shop, &["NO_CERTIFICATE"]).await;
}

#[tokio::test]
async fn a_caller_of_another_trust_domain_is_refused_and_logged() {
    let shop = Shop::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let domain = TrustDomain::new("evil.example").unwrap();
    let foreign = CertificateAuthority::open(folder.path(), &domain).unwrap();
    let id = SpiffeId::workload(&domain, "shop", "orders").unwrap();
    let bundle = shop_identity(shop, "orders").bundle().clone();
    let identity = Identity::new(foreign.issue(&id, HOUR).unwrap(), bundle);
    call(shop, client_config(&identity, payments()).unwrap())
        .await
        .unwrap_err();
    logged(shop, &["OTHER_TRUST_DOMAIN", "evil.example"]).await;
}

#[tokio::test]
async fn plaintext_is_refused_and_logged() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let shop = Shop::shared().await;
    let mut stream = TcpStream::connect(inbound(shop)).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LOG_DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    logged(shop, &["PLAINTEXT"]).await;
}
