//! The workload's place in the control plane's registry.

use std::{collections::BTreeMap, net::SocketAddr, pin::pin, time::Duration};

use contracts::weft::registry::v1::{
    self as wire, DeregisterRequest, RegisterRequest,
    registry_service_client::RegistryServiceClient,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use tracing::{info, warn};
use weft_model::dataplane::Locality;
use weft_runtime::admin::Readiness;

/// A lease lasts five of these.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After a registration that failed; doubled for each further one, up to the heartbeat.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const DEREGISTER_ATTEMPTS: u32 = 3;

/// Who is registered, and where it is.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its service in the mesh file.
    pub service: String,
    /// Its name, unique within the service.
    pub instance: String,
    /// Where others reach it.
    pub address: SocketAddr,
    /// What it is besides.
    pub particulars: Particulars,
}

/// What tells a workload from the others of its service. What it leaves out, the mesh file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Particulars {
    /// What subsets select by: `version: v2`.
    pub labels: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Locality,
    /// Its share of calls under weighted round robin and ring hash, 1 to 1000; 0 counts as 1.
    pub weight: u32,
}

/// Keeps the workload registered while it serves, until `leave` is cancelled; then, as whenever it
/// stops serving, takes it out at once. Ready is who is registered, also while the control plane is away:
/// callers keep what they were told.
pub async fn keep(
    registration: Registration,
    control: Channel,
    mut serving: watch::Receiver<bool>,
    readiness: &Readiness,
    leave: CancellationToken,
) {
    let mut registry = Registry {
        client: RegistryServiceClient::new(control),
        registration,
        sequence: 0,
    };
    loop {
        tokio::select! {
            waited = serving.wait_for(|&serving| serving) => if waited.is_err() { return },
            () = leave.cancelled() => return,
        }
        let stopped = async {
            tokio::select! {
                _ = serving.wait_for(|&serving| !serving) => {}
                () = leave.cancelled() => {}
            }
        };
        registry.heartbeat(readiness, stopped).await;
        readiness.set(false);
        registry.deregister().await;
        if leave.is_cancelled() {
            return;
        }
    }
}

/// What one workload has to do with the registry.
struct Registry {
    client: RegistryServiceClient<Channel>,
    registration: Registration,
    /// Of the last call.
    sequence: u64,
}

impl Registry {
    /// Registers again and again until `stopped`. A call under way is waited for: one that is dropped
    /// may still be carried out, after the deregistration that follows.
    async fn heartbeat(&mut self, readiness: &Readiness, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        let mut is_registered = None;
        let mut retry = FIRST_RETRY;
        loop {
            let result = self.register().await;
            let Registration {
                instance, address, ..
            } = &self.registration;
            let before = is_registered.replace(result.is_ok());
            match &result {
                Ok(()) if before != Some(true) => info!(instance, %address, "registered"),
                Err(status) if before != Some(false) => {
                    let (code, message) = (status.code(), status.message());
                    warn!(?code, error = message, "cannot register, trying on");
                }
                _ => {}
            }
            let pause = async {
                if result.is_ok() {
                    readiness.set(true);
                    retry = FIRST_RETRY;
                    sleep(HEARTBEAT).await;
                } else {
                    sleep(retry).await;
                    retry = HEARTBEAT.min(retry * 2);
                }
            };
            tokio::select! {
                biased;
                () = stopped.as_mut() => return,
                () = pause => {}
            }
        }
    }

    async fn register(&mut self) -> Result<(), Status> {
        let sequence = self.next();
        let Particulars {
            labels,
            locality,
            weight,
        } = &self.registration.particulars;
        let request = RegisterRequest {
            service: self.registration.service.clone(),
            instance: self.registration.instance.clone(),
            address: self.registration.address.to_string(),
            labels: labels.clone().into_iter().collect(),
            locality: (*locality != Locality::default()).then(|| wire::Locality {
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                sub_zone: locality.sub_zone.clone(),
            }),
            weight: *weight,
            sequence,
        };
        bounded(self.client.register(request)).await?;
        Ok(())
    }

    async fn deregister(&mut self) {
        let instance = self.registration.instance.clone();
        let request = DeregisterRequest {
            service: self.registration.service.clone(),
            instance: instance.clone(),
            sequence: self.next(),
        };
        for attempt in 1..=DEREGISTER_ATTEMPTS {
            match bounded(self.client.deregister(request.clone())).await {
                Ok(_) => return info!(instance, "deregistered"),
                Err(status) if attempt == DEREGISTER_ATTEMPTS => {
                    let message = status.message();
                    warn!(
                        error = message,
                        "cannot deregister, the lease will end by itself"
                    );
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded("the control plane does not answer");
    timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}
