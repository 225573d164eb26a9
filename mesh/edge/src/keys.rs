//! The public keys of one issuer: fetched over the mesh, cached, refreshed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::Method;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use weft_transcode::{Call, Payload};

use crate::api::{Api, rpc_path};

/// How often keys are read again without a reason.
const REFRESH: Duration = Duration::from_secs(300);
/// The shortest time between two fetches, whatever tokens ask for.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// The first keys are needed sooner.
const FIRST_INTERVAL: Duration = Duration::from_millis(250);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// One verification key and the only algorithm it is used with.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

/// Where an issuer's keys are: a method of the mesh behind its REST path.
pub(crate) struct Keys {
    api: Arc<Api>,
    authority: String,
    path: String,
    current: ArcSwapOption<HashMap<String, Key>>,
    /// When the last fetch began. Held while one runs, so that there is one at a time.
    fetched: Mutex<Option<Instant>>,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer has no key of this id.
    Unknown,
    /// The keys could not be fetched yet.
    Unavailable,
}

impl Keys {
    /// `uri` is `http://AUTHORITY/PATH`, where the path is bound to a method the edge serves.
    ///
    /// # Errors
    ///
    /// What is wrong with the URI.
    pub(crate) fn new(api: Arc<Api>, uri: &str) -> Result<Self, String> {
        let rest = uri
            .strip_prefix("http://")
            .ok_or("it must start with http://")?;
        let (authority, path) = rest.split_once('/').ok_or("it needs a path")?;
        let keys = Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
            api,
            current: ArcSwapOption::empty(),
            fetched: Mutex::new(None),
        };
        keys.locate()?;
        Ok(keys)
    }

    /// The method behind the path.
    fn locate(&self) -> Result<weft_transcode::Match<'_>, String> {
        let found = self.api.router.find(&Method::GET, &self.path);
        let found = found.map_err(|_| format!("no method is bound to GET {}", self.path))?;
        let served = self.api.served(&rpc_path(&found.route.method));
        match served {
            Some(served) if *served.authority == *self.authority => Ok(found),
            _ => Err(format!("`{}` does not serve {}", self.authority, self.path)),
        }
    }

    /// The key a token names; without a name the only key there is.
    ///
    /// # Errors
    ///
    /// If there is none, also after asking the issuer again.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Key, NoKey> {
        if let Ok(key) = self.cached(id) {
            return Ok(key);
        }
        self.refresh().await;
        self.cached(id)
    }

    fn cached(&self, id: Option<&str>) -> Result<Key, NoKey> {
        let keys = self.current.load();
        let keys = keys.as_ref().ok_or(NoKey::Unavailable)?;
        let key = match id {
            Some(id) => keys.get(id),
            None if keys.len() == 1 => keys.values().next(),
            None => None,
        };
        key.cloned().ok_or(NoKey::Unknown)
    }

    /// Fetches the keys unless that was just done.
    async fn refresh(&self) {
        let mut fetched = self.fetched.lock().await;
        let interval = match self.current.load().is_some() {
            true => SHORTEST_INTERVAL,
            false => FIRST_INTERVAL,
        };
        if fetched.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        *fetched = Some(Instant::now());
        match timeout(FETCH_TIMEOUT, self.fetch()).await {
            Ok(Ok(keys)) => {
                let ids: Vec<&str> = keys.keys().map(String::as_str).collect();
                tracing::debug!(authority = self.authority, ?ids, "keys fetched");
                self.current.store(Some(Arc::new(keys)));
            }
            Ok(Err(cause)) => {
                tracing::warn!(authority = self.authority, cause, "keys cannot be fetched");
            }
            Err(_) => {
                tracing::warn!(authority = self.authority, "keys did not come in time");
            }
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, Key>, String> {
        let found = self.locate()?;
        let plans = &self.api.plans;
        let request = found
            .request(plans, Call::default())
            .map_err(|e| e.to_string())?;
        let path = rpc_path(&found.route.method);
        let served = self.api.served(&path).ok_or("the method is not served")?;
        let headers = http::HeaderMap::new();
        let answer = self.api.unary(served, &path, headers, &request).await;
        let answer = answer.map_err(|status| status.to_string())?;
        let payload = found
            .route
            .response(plans, &answer)
            .map_err(|e| e.to_string())?;
        let json = match payload {
            Payload::Json(json) => json,
            Payload::Raw { data, .. } => data,
        };
        let set: JwkSet = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
        let keys: HashMap<String, Key> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err("there is no EdDSA or ES256 key among them".to_owned());
        }
        Ok(keys)
    }

    /// Keeps the keys fresh until `stop`. What is cached stays while the issuer is away.
    pub(crate) async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut wait = FIRST_INTERVAL;
        loop {
            self.refresh().await;
            let next = match self.current.load().is_some() {
                true => REFRESH,
                false => wait,
            };
            wait = (wait * 2).min(SHORTEST_INTERVAL);
            tokio::select! {
                () = sleep(next) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// A signature key of an algorithm we verify. The algorithm comes from the key, never from a token.
fn usable(jwk: &Jwk) -> Option<(String, Key)> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|found| found != named) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let id = jwk.common.key_id.clone().unwrap_or_default();
    Some((
        id,
        Key {
            algorithm,
            decoding,
        },
    ))
}
