//! Why a peer was refused, in words for whoever reads the log.

use std::{error::Error, io, time::Duration};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::SpiffeId;

/// Why a TLS handshake with a peer failed: what was expected and what came.
///
/// Names in `presented` are what the peer's certificate claims. They are well-formed, but not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The first bytes are not TLS.
    #[error("the peer spoke plaintext, expected TLS 1.3")]
    Plaintext,
    /// An older version of TLS.
    #[error("the peer offered no TLS 1.3")]
    OldTls,
    /// No application protocol in common.
    #[error("the peer offered no ALPN protocol that is served here, expected `h2`")]
    Alpn,
    /// The peer must prove an identity and did not.
    #[error("the peer presented no certificate, expected one with {expected}")]
    NoCertificate {
        /// Which identity would do.
        expected: String,
    },
    /// The certificate names no workload, or several.
    #[error("the peer's certificate carries no identity ({reason}), expected {expected}")]
    NoIdentity {
        /// What is wrong with it.
        reason: String,
        /// Which identity would do.
        expected: String,
    },
    /// The certificate claims an identity of somebody else's trust domain.
    #[error(
        "the peer's certificate is for {presented}, of another trust domain, expected {expected}"
    )]
    OtherTrustDomain {
        /// Who the peer claims to be.
        presented: SpiffeId,
        /// Which identity would do.
        expected: String,
    },
    /// A proven identity, but not the one that was dialled.
    #[error("the peer is {presented}, expected {expected}")]
    OtherIdentity {
        /// Who the peer is.
        presented: SpiffeId,
        /// Which identity would do.
        expected: String,
    },
    /// The certificate is too old.
    #[error("the certificate of {presented} expired {} s ago", ago.as_secs())]
    Expired {
        /// Who the peer claims to be.
        presented: SpiffeId,
        /// How long ago, by this machine's clock.
        ago: Duration,
    },
    /// The certificate is not valid yet.
    #[error("the certificate of {presented} is not valid for another {} s", wait.as_secs())]
    NotYetValid {
        /// Who the peer claims to be.
        presented: SpiffeId,
        /// How long until it is, by this machine's clock.
        wait: Duration,
    },
    /// No authority of the trust bundle vouches for the certificate.
    #[error(
        "the certificate of {presented} is signed by an authority outside the trust bundle of {expected}"
    )]
    UnknownAuthority {
        /// Who the peer claims to be.
        presented: SpiffeId,
        /// The trust domain whose bundle was asked.
        expected: String,
    },
    /// The certificate is for another use.
    #[error("the certificate of {presented} may not be used for this side of a connection")]
    WrongPurpose {
        /// Who the peer claims to be.
        presented: SpiffeId,
    },
    /// The certificate fails in another way.
    #[error("the certificate of {presented} is not acceptable: {reason}")]
    BadCertificate {
        /// Who the peer claims to be.
        presented: SpiffeId,
        /// What the verifier said.
        reason: String,
    },
    /// The peer refused us; its log says why.
    #[error("the peer refused this side's handshake: {alert}")]
    ByPeer {
        /// The alert it sent.
        alert: String,
    },
    /// The connection ended, or anything else.
    #[error("the handshake failed: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
}

impl Refusal {
    /// A constant word for metrics and log fields, such as `NO_CERTIFICATE`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::OldTls => "OLD_TLS",
            Self::Alpn => "ALPN",
            Self::NoCertificate { .. } => "NO_CERTIFICATE",
            Self::NoIdentity { .. } => "NO_IDENTITY",
            Self::OtherTrustDomain { .. } => "OTHER_TRUST_DOMAIN",
            Self::OtherIdentity { .. } => "OTHER_IDENTITY",
            Self::Expired { .. } => "EXPIRED",
            Self::NotYetValid { .. } => "NOT_YET_VALID",
            Self::UnknownAuthority { .. } => "UNKNOWN_AUTHORITY",
            Self::WrongPurpose { .. } => "WRONG_PURPOSE",
            Self::BadCertificate { .. } => "BAD_CERTIFICATE",
            Self::ByPeer { .. } => "REFUSED_BY_PEER",
            Self::Broken { .. } => "BROKEN",
        }
    }

    /// Reads the reason out of what a handshake, or the first read after it, failed with. `expected`
    /// says which identity would have done, for a peer that showed none.
    pub fn from_io(error: &io::Error, expected: &str) -> Self {
        let mut source: Option<&(dyn Error + 'static)> =
            error.get_ref().map(|inner| inner as &(dyn Error + 'static));
        while let Some(inner) = source {
            if let Some(refusal) = inner.downcast_ref::<Refusal>() {
                return refusal.clone();
            }
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return Self::from_tls(tls, expected);
            }
            source = match inner
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                Some(nested) => Some(nested),
                None => inner.source(),
            };
        }
        Self::Broken {
            reason: error.to_string(),
        }
    }

    /// As [`Refusal::from_io`], for rustls' own error.
    pub fn from_tls(error: &rustls::Error, expected: &str) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other
                .0
                .downcast_ref::<Refusal>()
                .cloned()
                .unwrap_or_else(|| Self::Broken {
                    reason: error.to_string(),
                }),
            rustls::Error::NoCertificatesPresented => Self::NoCertificate {
                expected: expected.to_owned(),
            },
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Self::Plaintext
            }
            rustls::Error::NoApplicationProtocol => Self::Alpn,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::OldTls,
            rustls::Error::AlertReceived(alert) => Self::ByPeer {
                alert: alert_text(*alert).to_owned(),
            },
            other => Self::Broken {
                reason: other.to_string(),
            },
        }
    }
}

fn alert_text(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => "it demands a certificate",
        AlertDescription::CertificateExpired => "it says the certificate has expired",
        AlertDescription::UnknownCA => "it does not know the certificate's authority",
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => {
            "it does not accept the certificate"
        }
        AlertDescription::AccessDenied => "it denies access",
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        AlertDescription::NoApplicationProtocol => "it does not speak HTTP/2",
        _ => "it sent an alert",
    }
}
