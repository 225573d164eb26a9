//! The cryptography behind `jsonwebtoken`: ring, verifying only, EdDSA and ES256 only.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, VerificationAlgorithm};
use signature::{Error, Verifier};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: refuse_to_sign,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what `jsonwebtoken` verifies with in this process.
pub(crate) fn install() {
    // Fails if one is installed: ours from an earlier call, or the caller's own, which does as well.
    let _ = PROVIDER.install_default();
}

fn refuse_to_sign(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let (family, ring): (_, &'static dyn VerificationAlgorithm) = match algorithm {
        Algorithm::EdDSA => (AlgorithmFamily::Ed, &ED25519),
        Algorithm::ES256 => (AlgorithmFamily::Ec, &ECDSA_P256_SHA256_FIXED),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    if key.family() != family {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        ring,
        key: key.try_get_as_bytes()?.to_vec(),
    }))
}

struct RingVerifier {
    algorithm: Algorithm,
    ring: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.ring
            .verify(
                self.key.as_slice().into(),
                message.into(),
                signature.as_slice().into(),
            )
            .map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
