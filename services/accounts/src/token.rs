//! Tokens: JSON Web Tokens signed with Ed25519 (RFC 7519, RFC 8037), and the keys they are made with.

use std::time::Duration;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::sockshop::accounts::v1::JsonWebKey;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;
use service_kit::{ids, time};

use crate::store::{SigningKey, Store};

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// A key older than this is followed by a new one at the next start.
const ROTATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who tokens come from and for whom they are.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` claim.
    pub name: String,
    /// The `aud` claim.
    pub audience: String,
}

/// The key in use and those whose tokens may still be valid.
#[derive(Debug)]
pub struct Keys {
    current: Key,
    earlier: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: String,
    pair: Ed25519KeyPair,
}

/// Reads the keys, and makes one where there is none or the newest is too old.
///
/// # Errors
///
/// If the database does not answer or holds a broken key.
pub async fn keys(store: &Store) -> anyhow::Result<Keys> {
    let now = time::now_micros();
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let fresh = SigningKey {
        id: ids::new_id(),
        private_key: document.as_ref().to_vec(),
    };
    let rotate_before = now - time::micros(ROTATION);
    let keep_since = rotate_before - time::micros(ROTATION + LIFETIME);
    let stored = store
        .signing_keys(&fresh, rotate_before, keep_since)
        .await?;
    let mut keys = stored.into_iter().map(|key| {
        let pair = Ed25519KeyPair::from_pkcs8(&key.private_key)
            .map_err(|error| anyhow::anyhow!("stored key {} is broken: {error}", key.id))?;
        Ok::<_, anyhow::Error>(Key { id: key.id, pair })
    });
    let current = keys.next().context("there is no signing key")??;
    Ok(Keys {
        current,
        earlier: keys.collect::<Result<_, _>>()?,
    })
}

impl Keys {
    /// A token for a customer that is valid from `now` (seconds since 1970) for [`LIFETIME`].
    pub fn sign(&self, issuer: &Issuer, customer: &str, now: i64) -> String {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.current.id});
        let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
        let claims = json!({
            "iss": issuer.name,
            "aud": issuer.audience,
            "sub": customer,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "jti": ids::new_secret(),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.current.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public keys, the one in use first.
    pub fn public(&self) -> Vec<JsonWebKey> {
        let key = |key: &Key| JsonWebKey {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: URL_SAFE_NO_PAD.encode(key.pair.public_key()),
            kid: key.id.clone(),
            r#use: "sig".into(),
            alg: "EdDSA".into(),
            ..Default::default()
        };
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .map(key)
            .collect()
    }
}
