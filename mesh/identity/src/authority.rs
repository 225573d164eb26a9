//! The certificate authority: a root that signs one intermediate, which signs the leaves.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    string::Ia5String,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::{
    InvalidCertificate, SigningRequest, SpiffeId, Svid, TrustBundle, TrustDomain,
    files::{create_private_dir, write_public},
};

mod store;

use store::{create, intermediate_is_fresh, read, write_intermediate};

/// How long a leaf lives if nobody asks for something else.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
/// The longest a leaf may live.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Certificates are valid from this long ago, for peers whose clocks are behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_TTL: Duration = DAY.saturating_mul(3650);
const INTERMEDIATE_TTL: Duration = DAY.saturating_mul(365);
/// An intermediate closer to its end than this is replaced when the authority starts.
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
    /// A stored certificate.
    #[error("a certificate of the authority is not usable")]
    Certificate(#[from] InvalidCertificate),
    /// A stored key, or signing itself.
    #[error("the authority cannot sign")]
    Signing(#[from] rcgen::Error),
}

/// Signs certificates for the workloads of one trust domain.
pub struct CertificateAuthority {
    trust_domain: TrustDomain,
    bundle: TrustBundle,
    root_pem: String,
    intermediate: Arc<Issuer<'static, KeyPair>>,
    intermediate_pem: String,
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
    /// # Errors
    /// If files cannot be read or written, do not fit together, or belong to another trust domain.
    pub fn open(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        create_private_dir(dir).map_err(at(dir))?;
        let ca = dir.join("ca");
        if !ca.join("root.pem").is_file() {
            create(dir, &ca, trust_domain)?;
        }
        let authority = Self::load(&ca, trust_domain)?;
        let public = dir.join("root.pem");
        write_public(&public, authority.root_pem.as_bytes()).map_err(at(&public))?;
        Ok(authority)
    }

    fn load(ca: &Path, wanted: &TrustDomain) -> Result<Self, AuthorityError> {
        let root_pem = read(&ca.join("root.pem"))?;
        let bundle = TrustBundle::from_pem(root_pem.as_bytes())?;
        if bundle.trust_domain() != wanted {
            return Err(AuthorityError::OtherTrustDomain {
                path: ca.to_owned(),
                found: bundle.trust_domain().clone(),
                wanted: wanted.clone(),
            });
        }
        if !intermediate_is_fresh(&ca.join("intermediate.pem"), SystemTime::now()) {
            let root_key = KeyPair::from_pem(&read(&ca.join("root-key.pem"))?)?;
            let root = Issuer::from_ca_cert_pem(&root_pem, root_key)?;
            write_intermediate(ca, wanted, &root)?;
        }
        let intermediate_pem = read(&ca.join("intermediate.pem"))?;
        let key = KeyPair::from_pem(&read(&ca.join("intermediate-key.pem"))?)?;
        Ok(Self {
            trust_domain: wanted.clone(),
            bundle,
            root_pem,
            intermediate: Arc::new(Issuer::from_ca_cert_pem(&intermediate_pem, key)?),
            intermediate_pem,
        })
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
        let leaf = self.leaf(request.key(), id, ttl)?;
        Ok(vec![
            leaf.pem(),
            self.intermediate_pem.clone(),
            self.root_pem.clone(),
        ])
    }

    /// Makes a key and signs it: for the control plane itself and for tests.
    ///
    /// # Errors
    /// If `id` belongs to another trust domain.
    pub fn issue(&self, id: &SpiffeId, ttl: Duration) -> Result<Svid, AuthorityError> {
        let key = KeyPair::generate()?;
        let leaf = self.leaf(&key, id, ttl)?;
        let intermediate = CertificateDer::from_pem_slice(self.intermediate_pem.as_bytes())
            .map_err(|_| InvalidCertificate::Unreadable {
                what: "the intermediate",
            })?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Svid::new(
            vec![leaf.der().clone(), intermediate],
            key.into(),
        )?)
    }

    fn leaf(
        &self,
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
        let mut params = params(id.service_account().unwrap_or("workload"), ttl.min(MAX_TTL));
        params.subject_alt_names = vec![uri(id.as_str())?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        Ok(params.signed_by(key, &self.intermediate)?)
    }
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
