//! The registry knows a workload exactly while it serves.

use std::{sync::Arc, time::Duration};

use contracts::weft::registry::v1::{
    DeregisterRequest, DeregisterResponse, RegisterRequest, RegisterResponse,
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Endpoint};
use weft_proxy::{Grace, Listeners, Sidecar, Workload};
use weft_runtime::metrics::Metrics;

use crate::{
    echo::Echo,
    support::{Mesh, eventually},
};

/// Remembers whether `echo-1` is registered, and where.
#[derive(Clone, Default)]
struct Registry(Arc<Mutex<Option<String>>>);

#[tonic::async_trait]
impl RegistryService for Registry {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(
            (request.service.as_str(), request.instance.as_str()),
            ("echo", "echo-1")
        );
        *self.0.lock() = Some(request.address);
        Ok(Response::new(RegisterResponse::default()))
    }

    async fn deregister(
        &self,
        _request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        *self.0.lock() = None;
        Ok(Response::new(DeregisterResponse::default()))
    }
}

#[tokio::test]
async fn a_workload_is_registered_while_it_serves_and_leaves_before_it_drains() {
    let mesh = Mesh::new("registration.local");
    let registry = Registry::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(RegistryServiceServer::new(registry.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let control = Endpoint::from_shared(control).unwrap().connect_lazy();

    // The workload has a port but does not serve yet.
    let app_address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (_snapshots, followed) = watch::channel(Some(Arc::new(mesh.allowing(&["orders"]))));
    let sidecar = Sidecar::new(
        Workload {
            service: "echo".to_owned(),
            instance: "echo-1".to_owned(),
            app: app_address,
            advertise: None,
        },
        Listeners {
            inbound: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            outbound: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        },
        mesh.identity("echo"),
        followed,
        &Metrics::new(),
    )
    .unwrap();
    let address = sidecar.inbound_address().to_string();
    let shutdown = CancellationToken::new();
    let grace = Grace {
        notice: Duration::from_millis(50),
        ..Grace::default()
    };
    let running = sidecar.run(Some(control), shutdown.clone().cancelled_owned(), grace);
    let running = tokio::spawn(running);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*registry.0.lock(), None);

    let stop = CancellationToken::new();
    let app = TcpListener::bind(app_address).await.unwrap();
    let serving = Echo::default().serve_on(app, stop.clone());
    let is_registered = || registry.0.lock().as_deref() == Some(address.as_str());
    eventually("the workload is registered", is_registered).await;

    stop.cancel();
    serving.await.unwrap();
    eventually("the workload that stopped is gone", || {
        registry.0.lock().is_none()
    })
    .await;

    let again = TcpListener::bind(app_address).await.unwrap();
    Echo::default().serve_on(again, CancellationToken::new());
    eventually("the workload is registered again", is_registered).await;
    shutdown.cancel();
    eventually("the draining workload is gone", || {
        registry.0.lock().is_none()
    })
    .await;
    running.await.unwrap();
    assert_eq!(*registry.0.lock(), None);
}
