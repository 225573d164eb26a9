//! A mesh that follows a control plane, as a sidecar does.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use weft_identity::{
    ControlUri, Enrolment, EnrolmentError, Expected, Identity, TrustBundle, channel, client_config,
};
use weft_model::dataplane::{Label, Locality};
use weft_runtime::metrics::{Metrics, global};
use weft_xds::client::{AdsClient, AdsOptions};

use super::{Joined, Mesh, MeshError};
use crate::{Channel, registration::Particulars};

/// What [`Mesh::from_control`] is told: the flags of a sidecar.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The service, as the mesh file names it. `None`: it only calls.
    pub service: Option<String>,
    /// The name of this process, unique within its service, such as `orders-1`.
    pub instance: String,
    /// The control plane.
    pub control: ControlUri,
    /// The roots of the trust domain, PEM.
    pub trust_bundle: PathBuf,
    /// A file with the one-time token that proves which workload this is.
    pub token_file: PathBuf,
    /// Where the last good configuration is kept for a start without the control plane.
    pub state_dir: PathBuf,
    /// Where this process runs: near endpoints are called first, and it is registered there.
    pub locality: Locality,
    /// What subsets of its service select it by: `version: v2`.
    pub labels: BTreeMap<String, String>,
    /// Its share of calls under weighted round robin and ring hash, 1 to 1000.
    pub weight: u32,
    /// Where metrics go: a registry of its own where the service counts its calls itself.
    pub metrics: Metrics,
}

impl ControlOptions {
    /// From the environment variables that a sidecar reads.
    ///
    /// # Errors
    /// If one is missing or makes no sense.
    pub fn from_env() -> Result<Self, MeshError> {
        let control = match std::env::var("WEFT_CONTROL") {
            Ok(control) => control,
            Err(_) => "https://127.0.0.1:15012".to_owned(),
        };
        Ok(Self {
            service: std::env::var("WEFT_SERVICE").ok(),
            instance: variable("WEFT_INSTANCE")?,
            control: control.parse().map_err(|error| MeshError::Environment {
                name: "WEFT_CONTROL",
                reason: format!("{error}"),
            })?,
            trust_bundle: variable("WEFT_TRUST_BUNDLE")?.into(),
            token_file: variable("WEFT_TOKEN_FILE")?.into(),
            state_dir: variable("WEFT_STATE_DIR")?.into(),
            locality: locality()?,
            labels: labels()?,
            weight: weight()?,
            metrics: global(),
        })
    }
}

/// `WEFT_LOCALITY`, if it is set.
pub(super) fn locality() -> Result<Locality, MeshError> {
    let text = std::env::var("WEFT_LOCALITY").unwrap_or_default();
    text.parse().map_err(|error| MeshError::Environment {
        name: "WEFT_LOCALITY",
        reason: format!("{error}"),
    })
}

/// `WEFT_LABELS`, if it is set.
fn labels() -> Result<BTreeMap<String, String>, MeshError> {
    let text = std::env::var("WEFT_LABELS").unwrap_or_default();
    let labels = text.split(',').filter(|label| !label.is_empty());
    labels
        .map(|label| match label.parse() {
            Ok(Label { key, value }) => Ok((key, value)),
            Err(error) => Err(MeshError::Environment {
                name: "WEFT_LABELS",
                reason: format!("{error}"),
            }),
        })
        .collect()
}

/// `WEFT_WEIGHT`, or 1.
fn weight() -> Result<u32, MeshError> {
    let Ok(text) = std::env::var("WEFT_WEIGHT") else {
        return Ok(1);
    };
    let weight = text
        .parse()
        .ok()
        .filter(|weight| (1..=1000).contains(weight));
    weight.ok_or_else(|| MeshError::Environment {
        name: "WEFT_WEIGHT",
        reason: format!("`{text}` is no number from 1 to 1000"),
    })
}

fn variable(name: &'static str) -> Result<String, MeshError> {
    std::env::var(name).map_err(|error| MeshError::Environment {
        name,
        reason: error.to_string(),
    })
}

impl Mesh {
    /// Gets a certificate and the first configuration from the control plane, waiting for it as long as
    /// it is away; then keeps both up to date. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a file cannot be used, or the control plane refuses the token.
    pub async fn from_control(options: ControlOptions) -> Result<Self, MeshError> {
        std::fs::create_dir_all(&options.state_dir).map_err(|source| MeshError::StateDir {
            path: options.state_dir.clone(),
            source,
        })?;
        let bundle = TrustBundle::from_file(&options.trust_bundle).map_err(|source| {
            MeshError::TrustBundle {
                path: options.trust_bundle.clone(),
                source,
            }
        })?;
        let enrolment = Enrolment::new(options.control.clone(), bundle, options.token_file);
        let identity = enrolment.enrol().await?;
        let tls = client_config(&identity, Expected::ServiceAccount("control".to_owned()))?;
        let control = channel(&options.control, tls);
        let ads = AdsClient::new(
            control.clone(),
            AdsOptions {
                service: options.service.clone(),
                node_id: options.instance.clone(),
                state_dir: Some(options.state_dir),
            },
        );
        let mut snapshots = ads.snapshots();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (failed, failure) = watch::channel(None);
        tokio::spawn(ads.run(stop.clone()));
        let renewal = keep_renewed(enrolment, Arc::clone(&identity), failed);
        tokio::spawn(stop.run_until_cancelled_owned(renewal));
        // The client publishes until it is stopped, so that a first one comes.
        let _ = snapshots.wait_for(Option::is_some).await;
        let (followed, own, metrics) = (snapshots.clone(), Arc::clone(&identity), &options.metrics);
        Ok(Self {
            channel: Channel::near(options.locality.clone(), followed, own, metrics),
            snapshots,
            identity: Some(identity),
            metrics: options.metrics,
            joined: Some(Arc::new(Joined {
                service: options.service,
                instance: options.instance,
                particulars: Particulars {
                    labels: options.labels,
                    locality: options.locality,
                    weight: options.weight,
                },
                control,
                failure,
                _stop: guard,
            })),
        })
    }
}

async fn keep_renewed(
    enrolment: Enrolment,
    identity: Arc<Identity>,
    failed: watch::Sender<Option<Arc<EnrolmentError>>>,
) {
    match enrolment.keep_renewed(identity).await {
        Ok(never) => match never {},
        Err(failure) => {
            error!(
                error = &failure as &dyn std::error::Error,
                "the certificate is not renewed"
            );
            failed.send_replace(Some(Arc::new(failure)));
        }
    }
}
