//! Certificates of the pairs that do not get theirs from our control plane: one authority, one leaf for
//! each end, P-256, with the same SPIFFE IDs. The server's also has a DNS name, which most peers check.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};

/// The DNS name in the server's certificate.
pub const SERVER_NAME: &str = "catalogue";
/// The SPIFFE ID of the first proxy of a pair.
pub const CLIENT_ID: &str = "spiffe://sockshop.local/ns/shop/sa/orders";
/// The SPIFFE ID of the second.
pub const SERVER_ID: &str = "spiffe://sockshop.local/ns/shop/sa/catalogue";

/// Writes `ca.pem`, and for `client` and `server` each `.pem`, `.key` and, for HAProxy, both in `.both`.
///
/// # Errors
///
/// If they cannot be made or written.
pub fn write(folder: &Path) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "benchmark");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    fs::write(folder.join("ca.pem"), &ca_pem)?;
    let issuer = Issuer::new(ca, ca_key);
    for (name, id) in [("client", CLIENT_ID), ("server", SERVER_ID)] {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        leaf.subject_alt_names.push(SanType::URI(id.try_into()?));
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = leaf.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        fs::write(folder.join(format!("{name}.pem")), &certificate)?;
        fs::write(folder.join(format!("{name}.key")), &key)?;
        fs::write(folder.join(format!("{name}.both")), certificate + &key)?;
    }
    Ok(())
}

/// TLS 1.3 with a certificate demanded of the client, for the hyper proxy.
///
/// # Errors
///
/// If a file of [`write`] is missing.
pub fn server_config(folder: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let (certificate, key) = leaf(folder, "server")?;
    let roots = Arc::new(roots(folder)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The other end of [`server_config`].
///
/// # Errors
///
/// As [`server_config`].
pub fn client_config(folder: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let (certificate, key) = leaf(folder, "client")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(folder)?)
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(folder: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(folder, "ca")?)?;
    Ok(roots)
}

fn leaf(
    folder: &Path,
    name: &str,
) -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let path = folder.join(format!("{name}.key"));
    let key = PrivateKeyDer::from_pem_file(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok((certificate(folder, name)?, key))
}

fn certificate(folder: &Path, name: &str) -> anyhow::Result<CertificateDer<'static>> {
    let path = folder.join(format!("{name}.pem"));
    CertificateDer::from_pem_file(&path).with_context(|| format!("cannot read {}", path.display()))
}
