//! The workload's place in the control plane's registry.

use std::{net::SocketAddr, pin::pin, time::Duration};

use contracts::weft::registry::v1::{
    DeregisterRequest, RegisterRequest, registry_service_client::RegistryServiceClient,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use tracing::{info, warn};

/// A lease lasts five of these.
const HEARTBEAT: Duration = Duration::from_secs(1);
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
}

/// Keeps the workload registered while it serves, until `leave` is cancelled; then, as whenever it
/// stops serving, takes it out at once.
pub async fn keep(
    registration: Registration,
    control: Channel,
    mut serving: watch::Receiver<bool>,
    leave: CancellationToken,
) {
    let mut client = RegistryServiceClient::new(control);
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
        registration.heartbeat(&mut client, stopped).await;
        registration.deregister(&mut client).await;
        if leave.is_cancelled() {
            return;
        }
    }
}

impl Registration {
    /// Registers again and again until `stopped`. A call under way is waited for: one that is dropped
    /// may still be carried out, after the deregistration that follows.
    async fn heartbeat(
        &self,
        client: &mut RegistryServiceClient<Channel>,
        stopped: impl Future<Output = ()>,
    ) {
        let mut stopped = pin!(stopped);
        let mut is_registered = None;
        loop {
            let request = RegisterRequest {
                service: self.service.clone(),
                instance: self.instance.clone(),
                address: self.address.to_string(),
                ..RegisterRequest::default()
            };
            let result = bounded(client.register(request)).await;
            let before = is_registered.replace(result.is_ok());
            match result {
                Ok(_) if before != Some(true) => {
                    info!(instance = self.instance, address = %self.address, "registered");
                }
                Err(status) if before != Some(false) => {
                    let (code, message) = (status.code(), status.message());
                    warn!(?code, error = message, "cannot register, trying on");
                }
                _ => {}
            }
            tokio::select! {
                biased;
                () = stopped.as_mut() => return,
                () = sleep(HEARTBEAT) => {}
            }
        }
    }

    async fn deregister(&self, client: &mut RegistryServiceClient<Channel>) {
        for attempt in 1..=DEREGISTER_ATTEMPTS {
            let request = DeregisterRequest {
                service: self.service.clone(),
                instance: self.instance.clone(),
            };
            match bounded(client.deregister(request)).await {
                Ok(_) => return info!(instance = self.instance, "deregistered"),
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
}

async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded("the control plane does not answer");
    timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}
