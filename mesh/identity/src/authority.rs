//! The certificate authority: a root that signs one intermediate, which signs the leaves.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    string::Ia5String,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::{
    InvalidCertificate, SigningRequest, SpiffeId, Svid, TrustBundle, TrustDomain,
    files::{create_private_dir, write_public},
    verify::chain_problem,
};

mod store;

use store::{Intermediate, create, is_missing, issue_intermediate, read};

/// How long a leaf lives if nobody asks for something else.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
/// The longest a leaf may live.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Certificates are valid from this long ago, for peers whose clocks are behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_TTL: Duration = DAY.saturating_mul(3650);
const INTERMEDIATE_TTL: Duration = DAY.saturating_mul(365);
/// An intermediate closer to its end than this is replaced.
const INTERMEDIATE_MARGIN: Duration = DAY.saturating_mul(30);

/// Why the authority cannot start or does not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file of the authority.
    #[error("certificate authority file {} is not usable", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that is there and cannot be what was written. Says what to do.
    #[error(
        "certificate authority file {} is damaged: {reason}; bring back a copy of it, or move the folder {} away: a new authority is made then, and every workload has to be started again",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The authority in the folder is another trust domain's.
    #[error("the certificate authority in {} is for trust domain {found}, not {wanted}; move it away to make a new one", path.display())]
    OtherTrustDomain {
        /// The folder.
        path: PathBuf,
        /// Whose authority it is.
        found: TrustDomain,
        /// Whose authority was asked for.
        wanted: TrustDomain,
    },
    /// The caller's request.
    #[error("the certificate signing request is not acceptable: {0}")]
    Request(String),
    /// A certificate that was just signed.
    #[error("the authority signs certificates that are not usable")]
    Certificate(#[from] InvalidCertificate),
    /// Signing itself.
    #[error("the authority cannot sign")]
    Signing(#[from] rcgen::Error),
}

/// Signs certificates for the workloads of one trust domain.
pub struct CertificateAuthority {
    dir: PathBuf,
    trust_domain: TrustDomain,
    bundle: TrustBundle,
    root_pem: String,
    intermediate: RwLock<Arc<Intermediate>>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Opens the authority kept in `dir/ca`, or creates it there: all of it or nothing. Keys have mode
    /// 0600. The root certificate is also written to `dir/root.pem`, which workloads are given.
    ///
    /// An intermediate that is lost, damaged or near its end is issued again. The root is not: nobody
    /// would trust another.
    ///
    /// # Errors
    /// If files cannot be read or written, do not fit together, or belong to another trust domain.
    pub fn open(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        create_private_dir(dir).map_err(at(dir))?;
        let ca = dir.join("ca");
        if is_missing(&ca).map_err(at(&ca))? {
            create(dir, &ca, trust_domain)?;
        }
        let authority = Self::load(ca, trust_domain)?;
        let public = dir.join("root.pem");
        write_public(&public, authority.root_pem.as_bytes()).map_err(at(&public))?;
        Ok(authority)
    }

    fn load(dir: PathBuf, wanted: &TrustDomain) -> Result<Self, AuthorityError> {
        let path = dir.join("root.pem");
        let root_pem = read(&path)?;
        let bundle = TrustBundle::from_pem(root_pem.as_bytes()).map_err(|error| {
            let reason = error.to_string();
            AuthorityError::Damaged { path, reason }
        })?;
        if bundle.trust_domain() != wanted {
            return Err(AuthorityError::OtherTrustDomain {
                path: dir,
                found: bundle.trust_domain().clone(),
                wanted: wanted.clone(),
            });
        }
        let kept =
            Intermediate::read(&dir).and_then(|intermediate| match intermediate.problem(&bundle) {
                None => Ok(intermediate),
                Some(reason) => Err(AuthorityError::Damaged {
                    path: dir.join("intermediate.pem"),
                    reason,
                }),
            });
        let intermediate = match kept {
            Ok(intermediate) => intermediate,
            Err(AuthorityError::Damaged { path, reason }) => {
                let file = path.display();
                tracing::warn!(%file, reason, "the intermediate certificate is issued again");
                issue_intermediate(&dir, &bundle, &root_pem)?
            }
            Err(error) => return Err(error),
        };
        let authority = Self {
            dir,
            trust_domain: wanted.clone(),
            bundle,
            root_pem,
            intermediate: RwLock::new(Arc::new(intermediate)),
        };
        if let Err(error) = authority.renew_intermediate(SystemTime::now()) {
            // It still signs; whoever keeps the root key elsewhere has time to bring it.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the intermediate certificate ends soon and is not renewed"
            );
        }
        Ok(authority)
    }

    /// Replaces the intermediate if `now` is in the last 30 days of its life; returns whether it did.
    /// Leaves that were signed before stay good: each comes with the intermediate that signed it.
    ///
    /// # Errors
    /// If the root key cannot be used or the files cannot be written. The old intermediate stays.
    pub fn renew_intermediate(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        if now + INTERMEDIATE_MARGIN < self.intermediate.read().not_after {
            return Ok(false);
        }
        let renewed = issue_intermediate(&self.dir, &self.bundle, &self.root_pem)?;
        *self.intermediate.write() = Arc::new(renewed);
        Ok(true)
    }

    /// The trust domain this authority signs for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What workloads need to verify each other.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The root certificate as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Signs the key of `request` for `id`, which the caller has authenticated: whatever names the
    /// request asks for are ignored. Returns PEM: the leaf, the intermediate, the root.
    ///
    /// `ttl` of zero means [`DEFAULT_TTL`]; more than [`MAX_TTL`] is cut.
    ///
    /// # Errors
    /// If `id` belongs to another trust domain.
    pub fn sign(
        &self,
        request: &SigningRequest,
        id: &SpiffeId,
        ttl: Duration,
    ) -> Result<Vec<String>, AuthorityError> {
        let intermediate = self.current();
        let leaf = self.leaf(&intermediate, request.key(), id, ttl)?;
        Ok(vec![
            leaf.pem(),
            intermediate.pem.clone(),
            self.root_pem.clone(),
        ])
    }

    /// Makes a key and signs it: for the control plane itself and for tests.
    ///
    /// # Errors
    /// If `id` belongs to another trust domain.
    pub fn issue(&self, id: &SpiffeId, ttl: Duration) -> Result<Svid, AuthorityError> {
        let intermediate = self.current();
        let key = KeyPair::generate()?;
        let leaf = self.leaf(&intermediate, &key, id, ttl)?;
        let chain = vec![leaf.der().clone(), intermediate.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Svid::new(chain, key.into())?)
    }

    fn current(&self) -> Arc<Intermediate> {
        Arc::clone(&self.intermediate.read())
    }

    fn leaf(
        &self,
        intermediate: &Intermediate,
        key: &impl PublicKeyData,
        id: &SpiffeId,
        ttl: Duration,
    ) -> Result<Certificate, AuthorityError> {
        if id.trust_domain() != self.trust_domain {
            return Err(AuthorityError::Request(format!(
                "{id} is not of trust domain {}",
                self.trust_domain
            )));
        }
        let ttl = if ttl.is_zero() { DEFAULT_TTL } else { ttl };
        leaf(&intermediate.issuer, key, id, ttl.min(MAX_TTL))
    }
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    key: &impl PublicKeyData,
    id: &SpiffeId,
    ttl: Duration,
) -> Result<Certificate, AuthorityError> {
    let mut params = params(id.service_account().unwrap_or("workload"), ttl);
    params.subject_alt_names = vec![uri(id.as_str())?];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params.signed_by(key, issuer)?)
}

fn authority_params(
    trust_domain: &TrustDomain,
    name: &str,
    ttl: Duration,
    path_length: u8,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&format!("{trust_domain} {name}"), ttl);
    params.subject_alt_names = vec![uri(&trust_domain.uri())?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(common_name: &str, ttl: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Weft");
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + ttl).into();
    params.use_authority_key_identifier_extension = true;
    params
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}
