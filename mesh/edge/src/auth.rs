//! Who the end user is: the token in `Authorization`, checked as RFC 8725 asks.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use tonic::Code;

use crate::{
    api::{Access, Api},
    crypto,
    failure::Failure,
    keys::{Keys, NoKey},
};

/// How far clocks may differ.
const LEEWAY_SECONDS: u64 = 30;
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// One issuer whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` claim.
    pub issuer: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// Where the keys are: `http://accounts:7070/.well-known/jwks.json`, a method of this mesh.
    pub keys_uri: String,
}

struct Trusted {
    issuer: Issuer,
    keys: Arc<Keys>,
}

/// Checks tokens.
pub(crate) struct Auth {
    trusted: Vec<Trusted>,
}

/// What a token must say besides what [`Validation`] checks.
#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Read before the signature is checked, only to know whose key to take.
#[derive(Deserialize)]
struct Unverified {
    #[serde(default)]
    iss: String,
}

impl Auth {
    /// # Errors
    ///
    /// If the keys of an issuer cannot be found through the mesh.
    pub(crate) fn new(api: &Arc<Api>, issuers: &[Issuer]) -> Result<Self, String> {
        crypto::install();
        let trusted = issuers.iter().map(|issuer| {
            let keys = Keys::new(Arc::clone(api), &issuer.keys_uri)
                .map_err(|problem| format!("keys of `{}`: {problem}", issuer.issuer))?;
            Ok(Trusted {
                issuer: issuer.clone(),
                keys: Arc::new(keys),
            })
        });
        Ok(Self {
            trusted: trusted.collect::<Result<_, String>>()?,
        })
    }

    /// The keys of all issuers, to be kept fresh.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Arc<Keys>> {
        self.trusted.iter().map(|trusted| Arc::clone(&trusted.keys))
    }

    /// The end user, `customers/{id}`, or `None` for an anonymous caller of a public method. A token
    /// that is sent must be valid, whatever the method.
    pub(crate) async fn subject(
        &self,
        access: Access,
        headers: &HeaderMap,
    ) -> Result<Option<String>, Failure> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, more) = (values.next(), values.next());
        if more.is_some() {
            return Err(invalid("Authorization is given twice"));
        }
        let Some(value) = value else {
            return match access {
                Access::Public => Ok(None),
                Access::Customer => Err(Failure::new(
                    StatusCode::UNAUTHORIZED,
                    Code::Unauthenticated,
                    "TOKEN_MISSING",
                    "log in first and send `Authorization: Bearer TOKEN`",
                )),
            };
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match token {
            Some(token) if token.len() <= MAX_TOKEN_BYTES => self.verify(token).await.map(Some),
            _ => Err(invalid("Authorization must be `Bearer TOKEN`")),
        }
    }

    async fn verify(&self, token: &str) -> Result<String, Failure> {
        let head = decode_header(token).map_err(|_| invalid("the token is no JWT"))?;
        if head.crit.is_some() {
            return Err(invalid(
                "the token wants extensions that are not understood",
            ));
        }
        let unverified: Unverified = jsonwebtoken::dangerous::insecure_decode(token)
            .map(|data| data.claims)
            .map_err(|_| invalid("the token is no JWT"))?;
        let trusted = self
            .trusted
            .iter()
            .find(|trusted| trusted.issuer.issuer == unverified.iss)
            .ok_or_else(|| invalid("the token is of an unknown issuer"))?;
        let key = trusted.keys.find(head.kid.as_deref()).await;
        let key = key.map_err(|error| match error {
            NoKey::Unknown => invalid("the token is signed with an unknown key"),
            NoKey::Unavailable => unavailable(),
        })?;
        if head.alg != key.algorithm {
            return Err(invalid(
                "the token is signed with another algorithm than its key's",
            ));
        }
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&trusted.issuer.issuer]);
        validation.set_audience(&trusted.issuer.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let data = decode::<Claims>(token, &key.decoding, &validation)
            .map_err(|error| invalid(explain(error.kind())))?;
        if !is_customer(&data.claims.sub) {
            return Err(invalid("the token is not of a customer"));
        }
        Ok(data.claims.sub)
    }
}

fn is_customer(subject: &str) -> bool {
    subject.strip_prefix("customers/").is_some_and(|id| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&id.len()) && id.bytes().all(allowed)
    })
}

fn explain(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired; log in again",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for somebody else",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a claim: exp, iss, aud, sub",
        _ => "the token is no JWT",
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        Code::Unauthenticated,
        "TOKEN_INVALID",
        message,
    )
}

/// Without keys nobody is believed.
fn unavailable() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::Unavailable,
        "KEYS_UNAVAILABLE",
        "tokens cannot be checked at the moment",
    )
    .with_header(header::RETRY_AFTER, "1")
}
