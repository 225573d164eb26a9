//! Getting a certificate from the control plane, and the next one in time.

use std::{
    convert::Infallible,
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use contracts::istio::v1::auth::{
    IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use tonic::{Code, Request, Status, metadata::MetadataValue};

use crate::{
    ControlUri, Expected, Identity, InvalidCertificate, Svid, TrustBundle,
    backoff::{Backoff, jittered},
    bootstrap_client_config, channel, client_config,
    kept::Kept,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the control plane may take where there is another certificate to go on with.
const KEPT_PATIENCE: Duration = Duration::from_secs(1);
/// A suspended machine stops the monotonic clock that timers run on, so the wall clock is asked often.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// Why this process has no certificate and will not get one by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The file with the token.
    #[error("cannot read token file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The token holds a character that cannot be sent.
    #[error("the token in {} is not printable ASCII", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The control plane says no; asking again changes nothing. A new start with a new token does.
    #[error("the control plane refuses to certify this workload: {0}")]
    Refused(String),
    /// The folder for the last certificate cannot be used.
    #[error("cannot keep the certificate in {}", path.display())]
    Keep {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The local part: key, request or TLS configuration.
    #[error("cannot make a certificate request")]
    Local(#[source] Box<dyn Error + Send + Sync>),
}

/// How one attempt ended.
enum Attempt {
    Later(String),
    Never(EnrolmentError),
}

/// Where and how this process gets its certificates. Keys are made in memory and stay there.
#[derive(Clone, Debug)]
pub struct Enrolment {
    control: ControlUri,
    bundle: TrustBundle,
    token_file: PathBuf,
    ttl: Duration,
    kept: Option<Kept>,
}

impl Enrolment {
    /// Certificates from the control plane at `control`, which must prove service account `control` to
    /// `bundle`. The token in `token_file` is read at each use, so it may be replaced.
    pub fn new(control: ControlUri, bundle: TrustBundle, token_file: PathBuf) -> Self {
        Self {
            control,
            bundle,
            token_file,
            ttl: Duration::ZERO,
            kept: None,
        }
    }

    /// Asks for another life than the authority's default. The authority may cut it.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Keeps the last certificate and its key in the folder `dir`, as `name.pem` with mode 0600: while the
    /// control plane is away, a new start goes on with them until they expire.
    ///
    /// # Errors
    /// If `dir` is not there, or not in memory: keys never touch a disk.
    pub fn kept_in(mut self, dir: &Path, name: &str) -> Result<Self, EnrolmentError> {
        let kept = Kept::open(dir, name, self.bundle.clone());
        self.kept = Some(kept.map_err(|source| EnrolmentError::Keep {
            path: dir.to_owned(),
            source,
        })?);
        Ok(self)
    }

    /// Gets the first certificate, by token. While the control plane is away it is the one that was kept,
    /// or else this waits.
    ///
    /// Cancel safe: nothing is kept but the token, which the next call would spend on another key.
    ///
    /// # Errors
    /// If the token cannot be read or is refused.
    pub async fn enrol(&self) -> Result<Arc<Identity>, EnrolmentError> {
        let kept = self.kept.as_ref().and_then(Kept::load);
        let svid = self.by_token_until_answered(kept).await?;
        Ok(Identity::new(svid, self.bundle.clone()))
    }

    /// Renews the certificate of `identity` at half of its life, for ever. While the control plane is
    /// away the old one serves; once that has expired, the token is tried again.
    ///
    /// Cancel safe. Ends only with an error.
    ///
    /// # Errors
    /// If the certificate has expired and the token is no longer good: the process should end, so that
    /// whoever started it starts it again with a new token.
    pub async fn keep_renewed(
        &self,
        identity: Arc<Identity>,
    ) -> Result<Infallible, EnrolmentError> {
        loop {
            let issued = SystemTime::now();
            let end = identity.svid().not_after();
            let half = end.duration_since(issued).unwrap_or_default() / 2;
            sleep_until(issued + jittered(half, 0.9..1.1)).await;
            let svid = self.renewed(&identity).await?;
            identity.replace(svid);
            tracing::info!(identity = %identity.id(), "certificate renewed");
        }
    }

    async fn renewed(&self, identity: &Arc<Identity>) -> Result<Svid, EnrolmentError> {
        let expected = Expected::ServiceAccount("control".to_owned());
        let tls = client_config(identity, expected).map_err(local)?;
        let mut backoff = Backoff::default();
        loop {
            if identity.svid().is_expired(SystemTime::now()) {
                tracing::warn!(identity = %identity.id(), "certificate expired, using the token");
                return self.by_token_until_answered(None).await;
            }
            let key = RequestKey::generate()?;
            match self.ask(&key, Arc::clone(&tls), None, CALL_TIMEOUT).await {
                Ok(svid) => return Ok(svid),
                Err(Attempt::Later(reason) | Attempt::Never(EnrolmentError::Refused(reason))) => {
                    tracing::warn!(%reason, "certificate not renewed, trying again");
                }
                Err(Attempt::Never(error)) => return Err(error),
            }
            backoff.wait().await;
        }
    }

    /// `kept` is taken if the control plane does not answer.
    async fn by_token_until_answered(&self, kept: Option<Svid>) -> Result<Svid, EnrolmentError> {
        let expected = Expected::ServiceAccount("control".to_owned());
        let tls = bootstrap_client_config(self.bundle.clone(), expected).map_err(local)?;
        // One key for all attempts: the token is spent on the first key the control plane sees.
        let key = RequestKey::generate()?;
        let patience = if kept.is_some() {
            KEPT_PATIENCE
        } else {
            CALL_TIMEOUT
        };
        let mut backoff = Backoff::default();
        loop {
            let token = self.token()?;
            match self
                .ask(&key, Arc::clone(&tls), Some(&token), patience)
                .await
            {
                Ok(svid) => {
                    tracing::info!(identity = %svid.id(), "certificate issued");
                    return Ok(svid);
                }
                Err(Attempt::Never(error)) => return Err(error),
                Err(Attempt::Later(reason)) => {
                    if let Some(kept) = kept {
                        tracing::warn!(control = %self.control, %reason, "going on with the last certificate");
                        return Ok(kept);
                    }
                    tracing::warn!(control = %self.control, %reason, "no certificate yet, trying again");
                }
            }
            backoff.wait().await;
        }
    }

    fn token(&self) -> Result<String, EnrolmentError> {
        std::fs::read_to_string(&self.token_file)
            .map(|token| token.trim().to_owned())
            .map_err(|source| EnrolmentError::TokenFile {
                path: self.token_file.clone(),
                source,
            })
    }

    async fn ask(
        &self,
        key: &RequestKey,
        tls: Arc<ClientConfig>,
        token: Option<&str>,
        patience: Duration,
    ) -> Result<Svid, Attempt> {
        let mut request = Request::new(IstioCertificateRequest {
            csr: key.csr.clone(),
            validity_duration: i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: None,
        });
        if let Some(token) = token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
                Attempt::Never(EnrolmentError::Token {
                    path: self.token_file.clone(),
                })
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = IstioCertificateServiceClient::new(channel(&self.control, tls));
        let answer = tokio::time::timeout(patience, client.create_certificate(request))
            .await
            .map_err(|_| Attempt::Later(format!("no answer in {patience:?}")))?
            .map_err(|status| classify(&status))?;
        let chain = answer.into_inner().cert_chain;
        let presented = presented(&chain);
        let svid = svid(presented, key)
            .map_err(|error| Attempt::Later(format!("the answer is not usable: {error}")))?;
        if let Some(kept) = &self.kept {
            kept.save(&key.key.serialize_pem(), presented).await;
        }
        Ok(svid)
    }
}

/// A key in memory and the request that proves its possession.
struct RequestKey {
    key: KeyPair,
    csr: String,
}

impl RequestKey {
    fn generate() -> Result<Self, EnrolmentError> {
        let key = KeyPair::generate().map_err(local)?;
        // The authority takes the name from the token or the connection, so the request has none.
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(local)?;
        Ok(Self { key, csr })
    }
}

/// The root, which comes last, is not presented: peers have it.
fn presented(chain: &[String]) -> &[String] {
    match chain {
        [presented @ .., _] if !presented.is_empty() => presented,
        _ => chain,
    }
}

fn svid(presented: &[String], key: &RequestKey) -> Result<Svid, InvalidCertificate> {
    let presented = presented
        .iter()
        .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| InvalidCertificate::Unreadable {
            what: "the certificate chain",
        })?;
    let key = PrivatePkcs8KeyDer::from(key.key.serialize_der());
    Svid::new(presented, key.into())
}

fn classify(status: &Status) -> Attempt {
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented => {
            Attempt::Never(EnrolmentError::Refused(status.message().to_owned()))
        }
        _ => Attempt::Later(describe(status)),
    }
}

/// The message of `status` and of what caused it, innermost last.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn local(error: impl Error + Send + Sync + 'static) -> EnrolmentError {
    EnrolmentError::Local(Box::new(error))
}

async fn sleep_until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}
