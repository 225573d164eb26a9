//! Who gets a certificate, and for which name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Control, LONG, sidecar};
use contracts::istio::v1::auth::{
    IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
};
use tokio::time::timeout;
use tonic::Code;
use weft_identity::{
    CertificateAuthority, EnrolmentError, Expected, Identity, SpiffeId, TrustDomain,
    bootstrap_client_config, channel,
};

#[tokio::test]
async fn token_gives_one_workload_its_certificate() {
    let mut control = Control::start().await;
    let token = control.token("orders");
    let identity = control.try_enrol(&token).await.unwrap();
    assert_eq!(
        identity.id().as_str(),
        "spiffe://test.local/ns/shop/sa/orders"
    );

    let refused = control.try_enrol(&token).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the control plane refuses to certify this workload: the token was used before"
    );
    control.stop().await;
    control.start_again().await;
    assert!(matches!(
        control.try_enrol(&token).await,
        Err(EnrolmentError::Refused(_))
    ));
    control.stop().await;
}

#[tokio::test]
async fn nobody_becomes_control_or_a_stranger() {
    let mut control = Control::start().await;
    for account in ["control", "payments", "../edge", ""] {
        let file = control.dir.path().join("token");
        let key = std::fs::read(control.state_dir().join("token.key")).unwrap();
        let minted = weft_identity::token::mint(&key, account, Duration::from_secs(60)).unwrap();
        std::fs::write(&file, minted).unwrap();
        let refused = control.try_enrol(&file).await;
        assert!(
            matches!(refused, Err(EnrolmentError::Refused(_))),
            "{account}: {refused:?}"
        );
    }
    control.stop().await;
}

#[tokio::test]
async fn no_proof_gives_no_certificate() {
    let mut control = Control::start().await;
    let expected = Expected::ServiceAccount("control".to_owned());
    let tls = bootstrap_client_config(control.bundle(), expected).unwrap();
    let mut client = IstioCertificateServiceClient::new(channel(&control.uri(), tls));
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let request = IstioCertificateRequest {
        csr: csr.pem().unwrap(),
        ..Default::default()
    };
    let status = client.create_certificate(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = client
        .create_certificate(IstioCertificateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    control.stop().await;
}

#[tokio::test]
async fn certificate_is_renewed_by_itself_while_a_stream_is_open() {
    let mut control = Control::start().await;
    let token = control.token("orders");
    let enrolment = control.enrolment(&token).with_ttl(Duration::from_secs(2));
    let identity = timeout(LONG, enrolment.enrol()).await.unwrap().unwrap();
    let mut renewals = identity.subscribe();
    let first = identity.svid().not_after();
    let mut ads = control.ads(&identity, sidecar("orders", "orders-1"));
    ads.wait(|_| true).await;

    let keeper = {
        let identity = Arc::clone(&identity);
        tokio::spawn(async move { enrolment.keep_renewed(identity).await })
    };
    for _ in 0..2 {
        timeout(LONG, renewals.changed()).await.unwrap().unwrap();
    }
    assert!(identity.svid().not_after() > first);
    assert_eq!(identity.id().service_account(), Some("orders"));
    assert!(!keeper.is_finished());
    keeper.abort();
    control.stop().await;
}

#[tokio::test]
async fn expired_workload_with_a_spent_token_gives_up() {
    let mut control = Control::start().await;
    let token = control.token("orders");
    let enrolment = control.enrolment(&token).with_ttl(Duration::from_secs(1));
    let identity = timeout(LONG, enrolment.enrol()).await.unwrap().unwrap();
    control.stop().await;
    let keeper = {
        let identity = Arc::clone(&identity);
        tokio::spawn(async move { enrolment.keep_renewed(identity).await })
    };
    let deadline = tokio::time::Instant::now() + LONG;
    while !identity.svid().is_expired(std::time::SystemTime::now()) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    control.start_again().await;
    let ended = timeout(LONG, keeper).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(ended, EnrolmentError::Refused(_)), "{ended}");
    control.stop().await;
}

#[tokio::test]
async fn forged_control_plane_gets_no_token() {
    // The real one's bundle, another authority behind the port.
    let mut real = Control::start().await;
    let mut forged = Control::start().await;
    let token = real.token("orders");
    let enrolment = weft_identity::Enrolment::new(forged.uri(), real.bundle(), token.clone());
    let tried = timeout(Duration::from_millis(800), enrolment.enrol()).await;
    assert!(tried.is_err(), "it must go on looking for the real one");
    real.try_enrol(&token).await.unwrap();
    forged.stop().await;
    real.stop().await;
}

#[tokio::test]
async fn certificate_of_another_trust_domain_opens_nothing() {
    let mut control = Control::start().await;
    let dir = tempfile::tempdir().unwrap();
    let other = TrustDomain::new("other.local").unwrap();
    let authority = CertificateAuthority::open(dir.path(), &other).unwrap();
    let id = SpiffeId::workload(&other, "shop", "orders").unwrap();
    let svid = authority.issue(&id, Duration::from_secs(60)).unwrap();
    let stranger = Identity::new(svid, control.bundle());
    let channel = control.channel(&stranger);
    let status = common::register(channel, "orders", "orders-1", "127.0.0.1:1")
        .await
        .unwrap_err();
    // The connection never comes up; what tonic makes of it depends on when it notices.
    let unreached = [Code::Unavailable, Code::Unknown];
    assert!(unreached.contains(&status.code()), "{status:?}");
    control.stop().await;
}
