//! The authority's files.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{AuthorityError, INTERMEDIATE_MARGIN, INTERMEDIATE_TTL, ROOT_TTL, authority_params};
use crate::{
    TrustDomain,
    files::{create_private_dir, sync_dir, write_private, write_public},
};

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
    write_intermediate(&building, trust_domain, &issuer)?;
    write_private(&building.join("root-key.pem"), key_pem.as_bytes()).map_err(at)?;
    write_public(&building.join("root.pem"), root.pem().as_bytes()).map_err(at)?;
    fs::rename(&building, ca).map_err(at)?;
    sync_dir(dir).map_err(at)
}

pub(super) fn write_intermediate(
    ca: &Path,
    trust_domain: &TrustDomain,
    root: &Issuer<'_, KeyPair>,
) -> Result<(), AuthorityError> {
    let at = |source| AuthorityError::File {
        path: ca.to_owned(),
        source,
    };
    // One key for the life of the authority: a crash between two files cannot split a pair.
    let key_file = ca.join("intermediate-key.pem");
    let key = match fs::read_to_string(&key_file) {
        Ok(pem) => KeyPair::from_pem(&pem)?,
        Err(_) => KeyPair::generate()?,
    };
    let params = authority_params(trust_domain, "intermediate", INTERMEDIATE_TTL, 0)?;
    let certificate = params.signed_by(&key, root)?;
    write_private(&key_file, key.serialize_pem().as_bytes()).map_err(at)?;
    write_public(&ca.join("intermediate.pem"), certificate.pem().as_bytes()).map_err(at)
}

pub(super) fn intermediate_is_fresh(path: &Path, now: SystemTime) -> bool {
    let Ok(pem) = fs::read(path) else {
        return false;
    };
    let Ok(der) = CertificateDer::from_pem_slice(&pem) else {
        return false;
    };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else {
        return false;
    };
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(end) > now + INTERMEDIATE_MARGIN
}

pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })
}
