//! rustls configurations: TLS 1.3 only, HTTP/2 only, both sides proven by SPIFFE ID.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use rustls::{
    CipherSuite, ClientConfig, CommonState, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    pki_types::ServerName,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{
    Identity, Refusal, SpiffeId, TrustBundle,
    svid::{end, facts},
    verify::{WorkloadClients, WorkloadServer},
};

/// Which server a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// Exactly this workload.
    Id(SpiffeId),
    /// This service account in any namespace of the trust domain. For the control plane, whose
    /// namespace a workload does not know before it has asked.
    ServiceAccount(String),
    /// Any workload of the trust domain.
    Any,
}

impl Expected {
    pub(crate) fn accepts(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Id(expected) => expected == id,
            Self::ServiceAccount(account) => id.service_account() == Some(account),
            Self::Any => true,
        }
    }

    pub(crate) fn describe(&self, bundle: &TrustBundle) -> String {
        let trust_domain = bundle.trust_domain();
        match self {
            Self::Id(id) => id.to_string(),
            Self::ServiceAccount(account) => {
                format!("service account {account} of trust domain {trust_domain}")
            }
            Self::Any => format!("an identity of trust domain {trust_domain}"),
        }
    }
}

/// The one TLS provider of the mesh (ring). Nothing is installed globally. AES-128-GCM comes first, as in
/// Envoy: it is as strong as the P-256 keys that prove who speaks, and costs less than AES-256-GCM.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        let preferred = CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider
            .cipher_suites
            .sort_by_key(|other| other.suite() != preferred);
        Arc::new(provider)
    }))
}

/// For a listener that accepts workloads of the trust domain only.
///
/// # Errors
/// If the trust bundle cannot be used.
pub fn server_config(identity: &Arc<Identity>) -> Result<Arc<ServerConfig>, rustls::Error> {
    server(identity, true)
}

/// As [`server_config`], but a peer may come without a certificate. One it presents must be good.
/// Only for the control plane, where a workload asks for its first certificate.
///
/// # Errors
/// If the trust bundle cannot be used.
pub fn server_config_with_optional_client(
    identity: &Arc<Identity>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    server(identity, false)
}

fn server(identity: &Arc<Identity>, required: bool) -> Result<Arc<ServerConfig>, rustls::Error> {
    let clients = WorkloadClients::new(identity.bundle().clone(), required)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(Current(Arc::clone(identity))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive the certificates it was made with.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For connections that present this identity and accept only the expected server.
///
/// # Errors
/// If the TLS provider lacks what TLS 1.3 needs.
pub fn client_config(
    identity: &Arc<Identity>,
    expected: Expected,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let current = Arc::new(Current(Arc::clone(identity)));
    let mut config =
        client_builder(identity.bundle().clone(), expected)?.with_client_cert_resolver(current);
    finish(&mut config);
    Ok(Arc::new(config))
}

/// As [`client_config`], for a process that has no certificate yet.
///
/// # Errors
/// If the TLS provider lacks what TLS 1.3 needs.
pub fn bootstrap_client_config(
    bundle: TrustBundle,
    expected: Expected,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = client_builder(bundle, expected)?.with_no_client_auth();
    finish(&mut config);
    Ok(Arc::new(config))
}

fn client_builder(
    bundle: TrustBundle,
    expected: Expected,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(WorkloadServer { bundle, expected })))
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
}

/// The name to give rustls for a peer at `address`. It is neither sent nor compared: peers are known
/// by SPIFFE ID.
pub fn server_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

/// Who the peer of a finished handshake has proven to be.
///
/// # Errors
/// [`Refusal::NoCertificate`] if the peer presented none, [`Refusal::NoIdentity`] if the handshake
/// was made with a configuration of somebody else and the certificate names no workload.
pub fn peer_id(connection: &CommonState) -> Result<SpiffeId, Refusal> {
    let expected = || "a SPIFFE ID".to_owned();
    let leaf = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or_else(|| Refusal::NoCertificate {
            expected: expected(),
        })?;
    match facts(leaf) {
        Ok(facts) => Ok(facts.id),
        Err(error) => Err(Refusal::NoIdentity {
            reason: error.to_string(),
            expected: expected(),
        }),
    }
}

/// Until when the certificate is valid that the peer of a finished handshake has presented.
pub fn peer_not_after(connection: &CommonState) -> Option<SystemTime> {
    end(connection.peer_certificates()?.first()?).ok()
}

/// Presents whatever certificate is current when a handshake asks.
#[derive(Debug)]
struct Current(Arc<Identity>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.svid().certified_key())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.svid().certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
