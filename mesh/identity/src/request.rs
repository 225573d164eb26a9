//! Certificate signing requests.

use rcgen::{CertificateSigningRequestParams, PublicKey, PublicKeyData};

use crate::AuthorityError;

const MAX_BYTES: usize = 16 * 1024;

/// A request whose signature shows that its sender holds the key. The names it asks for are dropped.
#[derive(Debug)]
pub struct SigningRequest(PublicKey);

impl SigningRequest {
    /// Reads a PKCS #10 request as PEM and verifies that it is signed with its own key.
    ///
    /// # Errors
    /// If it is longer than 16 KiB, not readable, not signed with its own key, or the key is not an
    /// ECDSA key on P-256.
    pub fn from_pem(pem: &str) -> Result<Self, AuthorityError> {
        let refuse = |reason: &str| AuthorityError::Request(reason.to_owned());
        if pem.len() > MAX_BYTES {
            return Err(refuse("it is longer than 16 KiB"));
        }
        let request = CertificateSigningRequestParams::from_pem(pem)
            .map_err(|error| refuse(&error.to_string()))?;
        if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(refuse("its key is not an ECDSA key on P-256"));
        }
        Ok(Self(request.public_key))
    }

    /// The key, to which a one-time token is bound.
    pub fn public_key(&self) -> &[u8] {
        self.0.der_bytes()
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.0
    }
}
