//! Tokens: JSON Web Tokens signed with Ed25519 (RFC 7519, RFC 8037), and the keys they are made with.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::sockshop::accounts::v1::JsonWebKey;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;
use service_kit::{CancellationToken, ids, time};
use tokio::sync::watch;

use crate::store::{SigningKey, Store};

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// A key older than this is followed by a new one.
const ROTATION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often the keys are read again, to rotate them and to learn of those of other replicas.
const REFRESH: Duration = Duration::from_secs(3600);
/// How long a new key is shown before it signs: until every replica and whoever checks tokens has it.
const ANNOUNCED: Duration = Duration::from_secs(2 * 3600);

/// Who tokens come from and for whom they are.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` claim.
    pub name: String,
    /// The `aud` claim.
    pub audience: String,
}

/// The key in use, the next one, and those whose tokens may still be valid.
#[derive(Debug)]
pub struct Keys {
    current: Key,
    others: Vec<Key>,
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
        create_time: now,
    };
    let rotate_before = now - time::micros(ROTATION);
    let keep_since = rotate_before - time::micros(ROTATION + LIFETIME);
    let mut stored = store
        .signing_keys(&fresh, rotate_before, keep_since)
        .await?;
    anyhow::ensure!(!stored.is_empty(), "there is no signing key");
    // Newest first. A first key has nobody to wait for.
    let announced = now - time::micros(ANNOUNCED);
    let current = stored.iter().position(|key| key.create_time <= announced);
    let current = stored.remove(current.unwrap_or(stored.len() - 1));
    Ok(Keys {
        current: Key::read(current)?,
        others: stored
            .into_iter()
            .map(Key::read)
            .collect::<Result<_, _>>()?,
    })
}

/// Reads the keys again every hour until the service drains.
pub async fn refresh(
    store: Store,
    keys: watch::Sender<Arc<Keys>>,
    token: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(REFRESH) => {}
        }
        match self::keys(&store).await {
            Ok(read) => drop(keys.send_replace(Arc::new(read))),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "signing keys stay"),
        }
    }
}

impl Key {
    fn read(stored: SigningKey) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&stored.private_key)
            .map_err(|error| anyhow::anyhow!("stored key {} is broken: {error}", stored.id))?;
        Ok(Self {
            id: stored.id,
            pair,
        })
    }
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
            .chain(&self.others)
            .map(key)
            .collect()
    }
}
