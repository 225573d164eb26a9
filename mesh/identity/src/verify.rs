//! Verifiers for rustls: a chain to the trust bundle and exactly one SPIFFE ID of our trust domain.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{
    Expected, Refusal, SpiffeId, TrustBundle, provider,
    svid::{Facts, InvalidCertificate, facts},
};

/// Accepts any workload of the bundle's trust domain as a client.
#[derive(Debug)]
pub(crate) struct WorkloadClients {
    bundle: TrustBundle,
    chain: Arc<dyn ClientCertVerifier>,
    required: bool,
}

impl WorkloadClients {
    pub(crate) fn new(bundle: TrustBundle, required: bool) -> Result<Self, Error> {
        let chain =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(bundle.roots()), provider())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            bundle,
            chain,
            required,
        })
    }
}

impl ClientCertVerifier for WorkloadClients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let expected = Expected::Any;
        let facts = claimed(end_entity, &expected, &self.bundle)?;
        self.chain
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| explain(error, &facts, &self.bundle))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Accepts a server that proves the expected SPIFFE ID. Host names are not looked at.
#[derive(Debug)]
pub(crate) struct WorkloadServer {
    pub(crate) bundle: TrustBundle,
    pub(crate) expected: Expected,
}

impl ServerCertVerifier for WorkloadServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = claimed(end_entity, &self.expected, &self.bundle)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            self.bundle.roots(),
            intermediates,
            now,
            algorithms().all,
        )
        .map_err(|error| explain(error, &facts, &self.bundle))?;
        if self.expected.accepts(&facts.id) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(refuse(Refusal::OtherIdentity {
            presented: facts.id,
            expected: self.expected.describe(&self.bundle),
        }))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Why peers that trust `bundle` would refuse a leaf that comes with `intermediate`, if they would.
pub(crate) fn chain_problem(
    leaf: &CertificateDer<'_>,
    intermediate: &CertificateDer<'_>,
    bundle: &TrustBundle,
) -> Option<String> {
    let verified = ParsedCertificate::try_from(leaf).and_then(|leaf| {
        let above = std::slice::from_ref(intermediate);
        let now = UnixTime::now();
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            bundle.roots(),
            above,
            now,
            algorithms().all,
        )
    });
    verified.err().map(|error| error.to_string())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// What the certificate claims, if it is an identity of our trust domain.
fn claimed(
    end_entity: &CertificateDer<'_>,
    expected: &Expected,
    bundle: &TrustBundle,
) -> Result<Facts, Error> {
    let facts = facts(end_entity).map_err(|error| {
        let reason = match error {
            InvalidCertificate::Identity(reason) => reason,
            other => other.to_string(),
        };
        refuse(Refusal::NoIdentity {
            reason,
            expected: expected.describe(bundle),
        })
    })?;
    if facts.id.trust_domain() != *bundle.trust_domain() {
        return Err(refuse(Refusal::OtherTrustDomain {
            presented: facts.id,
            expected: expected.describe(bundle),
        }));
    }
    Ok(facts)
}

/// Says whose certificate failed, which rustls' own errors leave out.
fn explain(error: Error, facts: &Facts, bundle: &TrustBundle) -> Error {
    let presented: SpiffeId = facts.id.clone();
    let now = SystemTime::now();
    let Error::InvalidCertificate(reason) = error else {
        return error;
    };
    let expired_ago = now.duration_since(facts.not_after).ok();
    refuse(match reason {
        // An expired intermediate is reported the same way; then the leaf's own end is still ahead.
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => match expired_ago {
            Some(ago) => Refusal::Expired { presented, ago },
            None => Refusal::BadCertificate {
                presented,
                reason: "a certificate above it has expired".to_owned(),
            },
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Refusal::NotYetValid {
                presented,
                wait: facts
                    .not_before
                    .duration_since(now)
                    .unwrap_or(Duration::ZERO),
            }
        }
        // A root of the same name with another key fails by its signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Refusal::UnknownAuthority {
                presented,
                expected: bundle.trust_domain().to_string(),
            }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::WrongPurpose { presented }
        }
        other => Refusal::BadCertificate {
            presented,
            reason: other.to_string(),
        },
    })
}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}
