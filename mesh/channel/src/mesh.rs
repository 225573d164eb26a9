//! A mesh in this process: for services that want no sidecar.
//!
//! ```no_run
//! # async fn example(options: weft_channel::ControlOptions) -> anyhow::Result<()> {
//! let mesh = weft_channel::Mesh::from_control(options).await?;
//! let orders = mesh.connect("orders");
//! // OrderServiceClient::new(orders)
//! # let _ = orders;
//! # Ok(())
//! # }
//! ```

mod control;
mod file;

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::sync::{OnceCell, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use weft_identity::{EnrolmentError, Identity, InvalidCertificate};
use weft_model::{Problems, dataplane::Snapshot};
use weft_runtime::{
    admin::Readiness,
    metrics::{Metrics, global},
};

pub use control::ControlOptions;
pub use file::FileOptions;

use crate::{
    AuthorityChannel, Channel,
    registration::{self, Particulars, Registration},
    server::Server,
};

/// Calls others by name, and lets others call, with the engine of a sidecar. Cloning gives the same
/// one; what keeps it up to date ends with the last clone.
#[derive(Clone)]
pub struct Mesh {
    channel: Channel,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    identity: Option<Arc<Identity>>,
    metrics: Metrics,
    joined: Option<Arc<Joined>>,
}

/// What a mesh that follows a control plane has besides.
struct Joined {
    service: Option<String>,
    instance: String,
    particulars: Particulars,
    control: tonic::transport::Channel,
    failure: watch::Receiver<Option<Arc<EnrolmentError>>>,
    _stop: DropGuard,
}

/// Why there is no mesh in this process.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The mesh file is broken.
    #[error("the mesh file is not usable:\n{0}")]
    File(Box<Problems>),
    /// The mesh file has no such service.
    #[error("the mesh file has no service `{0}`")]
    UnknownService(String),
    /// An environment variable is missing or makes no sense.
    #[error("{name} is not usable: {reason}")]
    Environment {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The trust bundle cannot be read.
    #[error("cannot use trust bundle {}", path.display())]
    TrustBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: InvalidCertificate,
    },
    /// A folder cannot be made.
    #[error("cannot create {}", path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control plane gives no certificate.
    #[error("the control plane gives no identity")]
    Enrolment(#[from] EnrolmentError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// Others cannot call a process that does not prove who it is.
    #[error("a server needs an identity, this mesh has none")]
    NoIdentity,
}

impl Mesh {
    /// The service called `name`: `orders`, or `orders:7070` with the port it is dialled at. A name that
    /// the mesh does not have is refused call by call, as it may come to be one.
    pub fn connect(&self, name: &str) -> AuthorityChannel {
        let snapshot = self.snapshots.borrow();
        let targets = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.targets.values());
        let mut named = targets.filter(|target| target.service == name);
        let authority = named
            .next()
            .map_or(name, |target| target.authority.as_str());
        self.channel.service(authority)
    }

    /// The channel below [`Self::connect`].
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What lets others call this process. Registers its metrics, so ask once.
    ///
    /// # Errors
    /// [`MeshError::NoIdentity`] without one, [`MeshError::Tls`] if the trust bundle cannot be used.
    pub fn server(&self) -> Result<Server, MeshError> {
        let identity = self.identity.clone().ok_or(MeshError::NoIdentity)?;
        let (channel, snapshots) = (self.channel.clone(), self.snapshots.clone());
        Ok(Server::new(channel, snapshots, identity, &self.metrics)?)
    }

    /// Keeps this process registered at `address` while `serving` says so, until `leave` is cancelled;
    /// then takes it out at once. Without a control plane or a service there is nothing to register.
    pub async fn keep_registered(
        &self,
        address: SocketAddr,
        serving: watch::Receiver<bool>,
        leave: CancellationToken,
    ) {
        let joined = self.joined.as_ref();
        let Some((joined, service)) = joined.and_then(|it| Some((it, it.service.clone()?))) else {
            return leave.cancelled().await;
        };
        let registration = Registration {
            service,
            instance: joined.instance.clone(),
            address,
            particulars: joined.particulars.clone(),
        };
        let (control, readiness) = (joined.control.clone(), Readiness::default());
        registration::keep(registration, control, serving, &readiness, leave).await;
    }

    /// Resolves if the certificate cannot be renewed any more: the process should end, so that whoever
    /// started it starts it again with a new token.
    pub async fn failed(&self) -> Arc<EnrolmentError> {
        if let Some(joined) = &self.joined {
            let mut failure = joined.failure.clone();
            if let Ok(failure) = failure.wait_for(Option::is_some).await
                && let Some(failure) = &*failure
            {
                return Arc::clone(failure);
            }
        }
        std::future::pending().await
    }

    /// The mesh of this process's environment, as a sidecar reads it: `WEFT_MESH_FILE` for a mesh file
    /// without a control plane, else `WEFT_SERVICE`, `WEFT_INSTANCE`, `WEFT_CONTROL`,
    /// `WEFT_TRUST_BUNDLE`, `WEFT_TOKEN_FILE` and `WEFT_STATE_DIR`, and what a workload may say of itself:
    /// `WEFT_LABELS` (`version=v2,tier=backend`) and `WEFT_WEIGHT`; `WEFT_LOCALITY` either way. Its metrics
    /// are the process's.
    ///
    /// # Errors
    /// If a variable is missing, and as [`Self::from_file`] and [`Self::from_control`].
    pub async fn from_env() -> Result<Self, MeshError> {
        match std::env::var_os("WEFT_MESH_FILE") {
            Some(path) => Self::from_file(FileOptions {
                path: path.into(),
                service: std::env::var("WEFT_SERVICE").ok(),
                locality: control::locality()?,
                metrics: global(),
                ..FileOptions::default()
            }),
            None => Self::from_control(ControlOptions::from_env()?).await,
        }
    }
}

/// Calls the service called `name` in the mesh of this process's environment ([`Mesh::from_env`]),
/// which the first call of this function joins.
///
/// # Errors
/// As [`Mesh::from_env`].
pub async fn connect(name: &str) -> Result<AuthorityChannel, MeshError> {
    static MESH: OnceCell<Mesh> = OnceCell::const_new();
    Ok(MESH.get_or_try_init(Mesh::from_env).await?.connect(name))
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").finish_non_exhaustive()
    }
}
