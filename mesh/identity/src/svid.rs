//! Certificates of workloads, the roots that vouch for them, and the current pair of this process.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::sync::watch;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::{SpiffeId, TrustDomain, provider};

/// Why a certificate, a chain or a bundle of roots cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCertificate {
    /// Not DER, not PEM, or no certificate in it.
    #[error("{what} is not readable as X.509")]
    Unreadable {
        /// Which certificate.
        what: &'static str,
    },
    /// A leaf names exactly one workload, by one URI.
    #[error("{0}")]
    Identity(String),
    /// The key is not the certificate's, or rustls knows no way to sign with it.
    #[error("the private key does not fit the certificate")]
    Key(#[source] rustls::Error),
    /// The file with the roots.
    #[error("cannot read trust bundle {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The facts of a certificate that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: SpiffeId,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Reads a leaf. It must have exactly one URI SAN, which must be a SPIFFE ID, and must not be an
/// authority. Signatures are not looked at.
pub(crate) fn facts(leaf: &CertificateDer<'_>) -> Result<Facts, InvalidCertificate> {
    let unreadable = InvalidCertificate::Unreadable {
        what: "the certificate",
    };
    let Ok((rest, certificate)) = X509Certificate::from_der(leaf) else {
        return Err(unreadable);
    };
    if !rest.is_empty() {
        return Err(unreadable);
    }
    if certificate.is_ca() {
        return Err(InvalidCertificate::Identity(
            "it is an authority's certificate, not a workload's".to_owned(),
        ));
    }
    let uris = uri_names(&certificate);
    let [uri] = uris.as_slice() else {
        return Err(InvalidCertificate::Identity(format!(
            "it has {} URI names, exactly one is needed",
            uris.len()
        )));
    };
    let id =
        SpiffeId::parse(uri).map_err(|error| InvalidCertificate::Identity(error.to_string()))?;
    Ok(Facts {
        id,
        not_before: system_time(certificate.validity().not_before.timestamp()),
        not_after: system_time(certificate.validity().not_after.timestamp()),
    })
}

/// Until when a certificate is valid.
pub(crate) fn end(certificate: &CertificateDer<'_>) -> Result<SystemTime, InvalidCertificate> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| InvalidCertificate::Unreadable {
            what: "the certificate",
        })?;
    Ok(system_time(certificate.validity().not_after.timestamp()))
}

fn uri_names<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect()
}

fn system_time(timestamp: i64) -> SystemTime {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    let time = match timestamp {
        0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
        _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An X.509 SVID: a workload's certificate chain and its private key, in memory only.
#[derive(Clone)]
pub struct Svid {
    id: SpiffeId,
    key: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Svid {
    /// Joins a chain, leaf first, with the leaf's key.
    ///
    /// # Errors
    /// If the leaf does not have exactly one URI name that is a SPIFFE ID, or the key is another's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidCertificate> {
        let leaf = chain.first().ok_or(InvalidCertificate::Unreadable {
            what: "an empty chain",
        })?;
        let facts = facts(leaf)?;
        let key =
            CertifiedKey::from_der(chain, key, &provider()).map_err(InvalidCertificate::Key)?;
        Ok(Self {
            id: facts.id,
            key: Arc::new(key),
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// Whose certificate it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// From when the certificate is valid; some seconds before it was issued, for clocks that differ.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the certificate is past its end at `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.not_after
    }

    /// The chain and a key that signs.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The roots that vouch for one trust domain.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Arc<RootCertStore>,
}

impl TrustBundle {
    /// Reads PEM. The trust domain is the root's own URI name (`spiffe://sockshop.local`); all roots
    /// must agree on it.
    ///
    /// # Errors
    /// If there is no certificate, or a root is not of one trust domain.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidCertificate> {
        let unreadable = || InvalidCertificate::Unreadable {
            what: "the trust bundle",
        };
        let mut roots = RootCertStore::empty();
        let mut trust_domain = None;
        for root in CertificateDer::pem_slice_iter(pem) {
            let root = root.map_err(|_| unreadable())?;
            let found = root_trust_domain(&root)?;
            if *trust_domain.get_or_insert_with(|| found.clone()) != found {
                return Err(InvalidCertificate::Identity(format!(
                    "the trust bundle mixes roots of {found} with others"
                )));
            }
            roots.add(root).map_err(|_| unreadable())?;
        }
        Ok(Self {
            trust_domain: trust_domain.ok_or_else(unreadable)?,
            roots: Arc::new(roots),
        })
    }

    /// As [`TrustBundle::from_pem`], from a file.
    ///
    /// # Errors
    /// If the file cannot be read or its content is refused.
    pub fn from_file(path: &Path) -> Result<Self, InvalidCertificate> {
        let pem = std::fs::read(path).map_err(|source| InvalidCertificate::File {
            path: path.to_owned(),
            source,
        })?;
        Self::from_pem(&pem)
    }

    /// Whose roots these are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

fn root_trust_domain(root: &CertificateDer<'_>) -> Result<TrustDomain, InvalidCertificate> {
    let unreadable = InvalidCertificate::Unreadable {
        what: "a root certificate",
    };
    let Ok((_, certificate)) = X509Certificate::from_der(root) else {
        return Err(unreadable);
    };
    let uris = uri_names(&certificate);
    let name = match uris.as_slice() {
        [uri] => uri.strip_prefix("spiffe://"),
        _ => None,
    };
    name.and_then(|name| TrustDomain::new(name).ok())
        .ok_or_else(|| {
            InvalidCertificate::Identity(
                "a root certificate does not name its trust domain by one URI".to_owned(),
            )
        })
}

/// Who this process is now. TLS configurations made from it follow every [`Identity::replace`].
#[derive(Debug)]
pub struct Identity {
    svid: watch::Sender<Arc<Svid>>,
    bundle: TrustBundle,
}

impl Identity {
    /// Starts with one certificate; whoever renews it calls [`Identity::replace`].
    pub fn new(svid: Svid, bundle: TrustBundle) -> Arc<Self> {
        Arc::new(Self {
            svid: watch::Sender::new(Arc::new(svid)),
            bundle,
        })
    }

    /// The certificate that new handshakes present.
    pub fn svid(&self) -> Arc<Svid> {
        Arc::clone(&self.svid.borrow())
    }

    /// This workload's name.
    pub fn id(&self) -> SpiffeId {
        self.svid.borrow().id.clone()
    }

    /// Whom this workload trusts.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Presents `svid` from the next handshake on. Open connections keep what they were made with.
    pub fn replace(&self, svid: Svid) {
        self.svid.send_replace(Arc::new(svid));
    }

    /// Tells of every renewal.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Svid>> {
        self.svid.subscribe()
    }
}
