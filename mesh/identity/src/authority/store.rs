//! The authority's files.

use std::{fs, io, path::Path, time::SystemTime};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{AuthorityError, INTERMEDIATE_TTL, ROOT_TTL, authority_params, chain_problem, leaf};
use crate::{
    SpiffeId, TrustBundle, TrustDomain,
    files::{create_private_dir, sync_dir, write_private, write_public},
    svid::end,
};

const KEY: &str = "intermediate-key.pem";
const CERTIFICATE: &str = "intermediate.pem";

/// What signs leaves, read from its files.
pub(super) struct Intermediate {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pem: String,
    pub(super) not_after: SystemTime,
}

impl Intermediate {
    pub(super) fn read(ca: &Path) -> Result<Self, AuthorityError> {
        let path = ca.join(CERTIFICATE);
        let pem = read(&path)?;
        Self::new(pem, read_key(&ca.join(KEY))?, &path)
    }

    fn new(pem: String, key: KeyPair, path: &Path) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| damaged(path, &error))?;
        let not_after = end(&certificate).map_err(|error| damaged(path, &error))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| damaged(path, &error))?;
        Ok(Self {
            issuer,
            certificate,
            pem,
            not_after,
        })
    }

    fn sign(
        trust_domain: &TrustDomain,
        root: &Issuer<'_, KeyPair>,
        key: KeyPair,
        path: &Path,
    ) -> Result<Self, AuthorityError> {
        let params = authority_params(trust_domain, "intermediate", INTERMEDIATE_TTL, 0)?;
        Self::new(params.signed_by(&key, root)?.pem(), key, path)
    }

    fn write(&self, ca: &Path) -> Result<(), AuthorityError> {
        let at = |source| AuthorityError::File {
            path: ca.to_owned(),
            source,
        };
        let key = self.issuer.key().serialize_pem();
        write_private(&ca.join(KEY), key.as_bytes()).map_err(at)?;
        write_public(&ca.join(CERTIFICATE), self.pem.as_bytes()).map_err(at)
    }

    /// Why peers would refuse what it signs: it signs something and looks at it as they do.
    pub(super) fn problem(&self, bundle: &TrustBundle) -> Option<String> {
        let probe = || {
            let id = SpiffeId::workload(bundle.trust_domain(), "probe", "probe").ok()?;
            let key = KeyPair::generate().ok()?;
            leaf(&self.issuer, &key, &id, super::DEFAULT_TTL).ok()
        };
        match probe() {
            Some(leaf) => chain_problem(leaf.der(), &self.certificate, bundle),
            None => Some("it cannot sign".to_owned()),
        }
    }
}

/// Whether there is no authority, not even a part of one.
pub(super) fn is_missing(ca: &Path) -> io::Result<bool> {
    match fs::read_dir(ca) {
        Ok(mut files) => Ok(files.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Builds the whole authority beside its place and moves it there, so that a crash leaves none.
pub(super) fn create(
    dir: &Path,
    ca: &Path,
    trust_domain: &TrustDomain,
) -> Result<(), AuthorityError> {
    let building = dir.join("ca.new");
    let at = |source| AuthorityError::File {
        path: building.clone(),
        source,
    };
    match fs::remove_dir_all(&building) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    create_private_dir(&building).map_err(at)?;
    let key = KeyPair::generate()?;
    let key_pem = key.serialize_pem();
    let params = authority_params(trust_domain, "root", ROOT_TTL, 1)?;
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let certificate = building.join(CERTIFICATE);
    Intermediate::sign(trust_domain, &issuer, KeyPair::generate()?, &certificate)?
        .write(&building)?;
    write_private(&building.join("root-key.pem"), key_pem.as_bytes()).map_err(at)?;
    write_public(&building.join("root.pem"), root.pem().as_bytes()).map_err(at)?;
    fs::rename(&building, ca).map_err(at)?;
    sync_dir(dir).map_err(at)
}

/// Signs an intermediate with the root's key and puts it into its place.
pub(super) fn issue_intermediate(
    ca: &Path,
    bundle: &TrustBundle,
    root_pem: &str,
) -> Result<Intermediate, AuthorityError> {
    let root_key = ca.join("root-key.pem");
    let root = Issuer::from_ca_cert_pem(root_pem, read_key(&root_key)?)
        .map_err(|error| damaged(&ca.join("root.pem"), &error))?;
    // The key is kept if it can be: a crash between the two files cannot split a pair then.
    let key = match read_key(&ca.join(KEY)) {
        Ok(key) => key,
        Err(AuthorityError::Damaged { .. }) => KeyPair::generate()?,
        Err(error) => return Err(error),
    };
    let path = ca.join(CERTIFICATE);
    let intermediate = Intermediate::sign(bundle.trust_domain(), &root, key, &path)?;
    if let Some(reason) = intermediate.problem(bundle) {
        // The intermediate is new, so it is the root that does not do: another's key, or its end.
        return Err(damaged(&root_key, &reason));
    }
    intermediate.write(ca)?;
    Ok(intermediate)
}

pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => damaged(path, &"it is gone"),
        io::ErrorKind::InvalidData => damaged(path, &"it is not PEM"),
        _ => AuthorityError::File {
            path: path.to_owned(),
            source,
        },
    })
}

fn read_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pem(&read(path)?).map_err(|_| damaged(path, &"it holds no private key"))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> AuthorityError {
    AuthorityError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
