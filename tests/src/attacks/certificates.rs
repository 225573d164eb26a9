//! TLS configurations of clients that a sidecar must refuse, and of one that it accepts.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use weft_identity::{
    CertificateAuthority, Expected, Identity, SpiffeId, TrustDomain, client_config, provider,
};

use crate::Shop;

/// The trust domain of the shop.
const DOMAIN: &str = "sockshop.local";

/// A client with an identity that the shop's own authority issued.
///
/// # Errors
///
/// If the authority cannot be read.
pub fn valid(shop: &Shop, account: &str) -> Result<Arc<ClientConfig>> {
    issued(&authority(shop)?, account, Duration::from_secs(3600))
}

/// A client whose certificate is good for a second from now, and until when.
///
/// # Errors
///
/// If the authority cannot be read.
pub fn short(shop: &Shop, account: &str) -> Result<Arc<ClientConfig>> {
    issued(&authority(shop)?, account, Duration::from_secs(1))
}

/// A client of another authority, which calls its trust domain `domain`.
///
/// # Errors
///
/// If there is no place for the authority's files.
pub fn foreign(domain: &str, account: &str) -> Result<Arc<ClientConfig>> {
    let folder = tempfile::tempdir()?;
    let authority = CertificateAuthority::open(folder.path(), &TrustDomain::new(domain)?)?;
    let id = SpiffeId::workload(authority.trust_domain(), "shop", account)?;
    let svid = authority.issue(&id, Duration::from_secs(3600))?;
    let identity = Identity::new(svid, authority.bundle().clone());
    // Its own bundle does not know the server, which shall be the one to refuse.
    let mut config = anybody(&TLS13).with_client_cert_resolver(Arc::new(Same(None)));
    config.client_auth_cert_resolver = client_config(&identity, Expected::Any)?
        .client_auth_cert_resolver
        .clone();
    Ok(h2(config))
}

/// A client that signed its certificate itself, with these URI names.
///
/// # Errors
///
/// If a name is no URI.
pub fn self_signed(uris: &[&str]) -> Result<Arc<ClientConfig>> {
    let mut params = CertificateParams::default();
    for uri in uris {
        params
            .subject_alt_names
            .push(SanType::URI((*uri).try_into()?));
    }
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    presenting(certificate.der().clone(), &key)
}

/// A client whose certificate is none.
///
/// # Errors
///
/// If no key can be made.
pub fn malformed() -> Result<Arc<ClientConfig>> {
    let key = KeyPair::generate()?;
    presenting(
        CertificateDer::from(b"\x30\x82\xff\xff not a certificate".to_vec()),
        &key,
    )
}

/// A client without a certificate.
pub fn none() -> Arc<ClientConfig> {
    h2(anybody(&TLS13).with_no_client_auth())
}

/// A client that knows no TLS 1.3.
pub fn old() -> Arc<ClientConfig> {
    h2(anybody(&TLS12).with_no_client_auth())
}

fn authority(shop: &Shop) -> Result<CertificateAuthority> {
    // Opening writes the root's certificate, under one temporary name for all who open.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let domain = TrustDomain::new(DOMAIN)?;
    Ok(CertificateAuthority::open(
        &shop.data().join("control"),
        &domain,
    )?)
}

fn issued(
    authority: &CertificateAuthority,
    account: &str,
    ttl: Duration,
) -> Result<Arc<ClientConfig>> {
    let id = SpiffeId::workload(authority.trust_domain(), "shop", account)?;
    let identity = Identity::new(authority.issue(&id, ttl)?, authority.bundle().clone());
    Ok(client_config(&identity, Expected::Any)?)
}

fn presenting(certificate: CertificateDer<'static>, key: &KeyPair) -> Result<Arc<ClientConfig>> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider()
        .key_provider
        .load_private_key(key)
        .context("a key that cannot sign")?;
    let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
    Ok(h2(anybody(&TLS13).with_client_cert_resolver(Arc::new(
        Same(Some(certified)),
    ))))
}

fn h2(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    Arc::new(config)
}

fn anybody(
    version: &'static SupportedProtocolVersion,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap_or_else(|error| unreachable!("the provider has both versions: {error}"))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
}

/// Presents one certificate, whatever it is.
#[derive(Debug)]
struct Same(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Same {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Believes every server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
