//! A control plane on free ports, and what talks to it.
#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use contracts::weft::registry::v1::{
    DeregisterRequest, RegisterRequest, registry_service_client::RegistryServiceClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use weft_control::{Args, Running, start};
use weft_identity::{
    ControlUri, Enrolment, EnrolmentError, Expected, Identity, TrustBundle, channel, client_config,
    token,
};
use weft_model::dataplane::Snapshot;
use weft_xds::client::{AdsClient, AdsOptions};

pub const LONG: Duration = Duration::from_secs(20);

/// Two services of interest, and one that serves whatever else the contracts have.
pub fn mesh() -> String {
    let rest: String = contracts::pool()
        .services()
        .map(|service| service.full_name().to_owned())
        .filter(|name| name.starts_with("sockshop."))
        .filter(|name| !name.contains(".catalogue.") && !name.contains(".orders."))
        .map(|name| format!("      - {name}\n"))
        .collect();
    format!(
        "\
mesh: {{ trustDomain: test.local, namespace: shop }}
services:
  catalogue:
    port: 7070
    serves: [sockshop.catalogue.v1.CatalogueService]
    authz: &edge
      allow_rules:
        - name: edge-may
          source: {{ principals: [\"spiffe://test.local/ns/shop/sa/edge\"] }}
  orders:
    port: 7070
    serves: [sockshop.orders.v1.OrderService]
    authz: *edge
  rest:
    port: 7070
    serves:
{rest}    authz: *edge
edge:
  listen: 127.0.0.1:0
  jwtRules:
    - issuer: https://accounts.test.local
      audiences: [shop]
      jwksUri: http://rest:7070/.well-known/jwks.json
"
    )
}

/// A state folder and the control plane over it.
pub struct Control {
    pub dir: TempDir,
    pub running: Option<Running>,
    shutdown: CancellationToken,
    listen: std::net::SocketAddr,
}

impl Control {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mesh.yaml"), mesh()).unwrap();
        let mut control = Self {
            dir,
            running: None,
            shutdown: CancellationToken::new(),
            listen: ([127, 0, 0, 1], 0).into(),
        };
        control.start_again().await;
        control
    }

    pub async fn start_again(&mut self) {
        self.shutdown = CancellationToken::new();
        let args = Args {
            mesh: self.mesh_file(),
            listen: self.listen,
            admin_listen: ([127, 0, 0, 1], 0).into(),
            state_dir: self.state_dir(),
            ready_file: Some(self.dir.path().join("ready.json")),
        };
        let running = start(args, self.shutdown.clone()).await.unwrap();
        self.listen = running.listen;
        self.running = Some(running);
    }

    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        let running = self.running.take().unwrap();
        timeout(LONG, running.wait()).await.unwrap().unwrap();
    }

    pub fn mesh_file(&self) -> PathBuf {
        self.dir.path().join("mesh.yaml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    pub fn uri(&self) -> ControlUri {
        format!("https://{}", self.listen).parse().unwrap()
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_file(&self.state_dir().join("root.pem")).unwrap()
    }

    pub fn token(&self, account: &str) -> PathBuf {
        let key = std::fs::read(self.state_dir().join("token.key")).unwrap();
        let file = self.dir.path().join(format!("token-{account}"));
        let token = token::mint(&key, account, Duration::from_secs(60)).unwrap();
        std::fs::write(&file, token).unwrap();
        file
    }

    pub fn enrolment(&self, token_file: &Path) -> Enrolment {
        Enrolment::new(self.uri(), self.bundle(), token_file.to_owned())
    }

    pub async fn enrol(&self, account: &str) -> Arc<Identity> {
        self.try_enrol(&self.token(account)).await.unwrap()
    }

    pub async fn try_enrol(&self, token_file: &Path) -> Result<Arc<Identity>, EnrolmentError> {
        timeout(LONG, self.enrolment(token_file).enrol())
            .await
            .unwrap()
    }

    pub fn channel(&self, identity: &Arc<Identity>) -> Channel {
        let expected = Expected::ServiceAccount("control".to_owned());
        channel(&self.uri(), client_config(identity, expected).unwrap())
    }

    pub fn ads(&self, identity: &Arc<Identity>, options: AdsOptions) -> Ads {
        let client = AdsClient::new(self.channel(identity), options);
        let snapshots = client.snapshots();
        let stop = CancellationToken::new();
        tokio::spawn(client.run(stop.clone()));
        Ads { snapshots, stop }
    }

    pub fn status(&self) -> Value {
        self.running.as_ref().unwrap().status()
    }
}

/// A following ADS client; it stops when it is dropped.
pub struct Ads {
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    stop: CancellationToken,
}

impl Ads {
    pub async fn wait(&mut self, what: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let found = self
            .snapshots
            .wait_for(|now| now.as_deref().is_some_and(&what));
        let found = timeout(LONG, found).await.expect("not in time").unwrap();
        found.clone().unwrap()
    }
}

impl Drop for Ads {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn sidecar(service: &str, instance: &str) -> AdsOptions {
    AdsOptions {
        service: Some(service.to_owned()),
        node_id: instance.to_owned(),
        state_dir: None,
    }
}

pub async fn register(
    channel: Channel,
    service: &str,
    instance: &str,
    address: &str,
) -> Result<Duration, Status> {
    let request = RegisterRequest {
        service: service.to_owned(),
        instance: instance.to_owned(),
        address: address.to_owned(),
        ..RegisterRequest::default()
    };
    register_as(channel, request).await
}

pub async fn register_as(channel: Channel, request: RegisterRequest) -> Result<Duration, Status> {
    let answer = RegistryServiceClient::new(channel)
        .register(request)
        .await?;
    Ok(answer.into_inner().lease.unwrap().try_into().unwrap())
}

pub async fn deregister(channel: Channel, service: &str, instance: &str) -> Result<(), Status> {
    let request = DeregisterRequest {
        service: service.to_owned(),
        instance: instance.to_owned(),
        sequence: 0,
    };
    RegistryServiceClient::new(channel)
        .deregister(request)
        .await?;
    Ok(())
}

pub fn ports(snapshot: &Snapshot, authority: &str) -> Vec<u16> {
    let target = &snapshot.targets[authority];
    target
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address.port())
        .collect()
}
