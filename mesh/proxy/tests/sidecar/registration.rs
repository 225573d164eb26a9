//! The registry knows a workload exactly while it serves.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use contracts::weft::registry::v1::{
    DeregisterRequest, DeregisterResponse, RegisterRequest, RegisterResponse,
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};
use weft_channel::registration::Particulars;
use weft_proxy::{Grace, Listeners, Sidecar, Workload};
use weft_runtime::{admin::Readiness, metrics::Metrics};

use crate::{
    echo::Echo,
    support::{Mesh, eventually, nobody},
};

/// Remembers whether `echo-1` is registered, and as what.
#[derive(Clone, Default)]
struct Registry {
    known: Arc<Mutex<Option<RegisterRequest>>>,
    /// Registrations that have come, whether carried out already or not.
    begun: Arc<AtomicUsize>,
    slowness: Duration,
    refuse: Arc<AtomicBool>,
}

impl Registry {
    async fn serve(&self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(RegistryServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Endpoint::from_shared(control).unwrap().connect_lazy()
    }

    fn address(&self) -> Option<String> {
        let known = self.known.lock();
        known.as_ref().map(|known| known.address.clone())
    }
}

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
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.refuse.load(Ordering::SeqCst) {
            return Err(Status::unavailable("not now"));
        }
        let (known, slowness) = (Arc::clone(&self.known), self.slowness);
        // What has begun is carried out even if nobody waits for it.
        let carried_out = tokio::spawn(async move {
            tokio::time::sleep(slowness).await;
            *known.lock() = Some(request);
        });
        carried_out.await.unwrap();
        Ok(Response::new(RegisterResponse::default()))
    }

    async fn deregister(
        &self,
        _request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        *self.known.lock() = None;
        Ok(Response::new(DeregisterResponse::default()))
    }
}

#[tokio::test]
async fn a_workload_is_registered_while_it_serves_and_leaves_before_it_drains() {
    let mesh = Mesh::new("registration.local");
    let registry = Registry::default();
    let control = registry.serve().await;
    // The workload has a port but does not serve yet.
    let app_address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (sidecar, shutdown, running) = sidecar(&mesh, control, app_address).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(registry.address(), None);

    let stop = CancellationToken::new();
    let app = TcpListener::bind(app_address).await.unwrap();
    let serving = Echo::default().serve_on(app, stop.clone());
    let is_registered = || registry.address().as_ref() == Some(&sidecar.address);
    eventually("the workload is registered", is_registered).await;
    let known = registry.known.lock().clone().unwrap();
    assert_eq!(known.labels["version"], "v2");
    let locality = known.locality.unwrap();
    assert_eq!((&*locality.region, &*locality.zone), ("eu", "eu-1"));
    assert_eq!(known.weight, 7);

    stop.cancel();
    serving.await.unwrap();
    eventually("the workload that stopped is gone", || {
        registry.address().is_none()
    })
    .await;

    let again = TcpListener::bind(app_address).await.unwrap();
    Echo::default().serve_on(again, CancellationToken::new());
    eventually("the workload is registered again", is_registered).await;
    shutdown.cancel();
    eventually("the draining workload is gone", || {
        registry.address().is_none()
    })
    .await;
    running.await.unwrap();
    assert_eq!(registry.address(), None);
}

#[tokio::test]
async fn a_heartbeat_under_way_does_not_outlive_the_deregistration() {
    let mesh = Mesh::new("registration.local");
    let registry = Registry {
        slowness: Duration::from_millis(300),
        ..Registry::default()
    };
    let control = registry.serve().await;
    let (app, _serving) = Echo::default().serve(CancellationToken::new()).await;
    let (_, shutdown, running) = sidecar(&mesh, control, app).await;
    let begun = || registry.begun.load(Ordering::SeqCst);
    eventually("a second heartbeat is under way", || begun() == 2).await;
    shutdown.cancel();
    running.await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(registry.address(), None);
}

#[tokio::test]
async fn who_is_ready_is_registered() {
    let mesh = Mesh::new("registration.local");
    let registry = Registry::default();
    let control = registry.serve().await;
    let (stop, app) = (CancellationToken::new(), nobody().await);
    let (sidecar, shutdown, running) = sidecar(&mesh, control, app).await;
    let readiness = sidecar.readiness;

    registry.refuse.store(true, Ordering::SeqCst);
    let listener = TcpListener::bind(app).await.unwrap();
    let serving = Echo::default().serve_on(listener, stop.clone());
    let begun = || registry.begun.load(Ordering::SeqCst);
    eventually("it tries again", || begun() >= 2).await;
    assert!(!readiness.is_ready(), "configured, but nobody finds it");
    registry.refuse.store(false, Ordering::SeqCst);
    eventually("it is ready", || readiness.is_ready()).await;
    assert_eq!(registry.address(), Some(sidecar.address));

    // Callers know where it is even if the control plane does not answer.
    registry.refuse.store(true, Ordering::SeqCst);
    let before = begun();
    eventually("heartbeats fail", || begun() > before + 1).await;
    assert!(readiness.is_ready());
    registry.refuse.store(false, Ordering::SeqCst);

    stop.cancel();
    serving.await.unwrap();
    eventually("it is not ready without the workload", || {
        !readiness.is_ready()
    })
    .await;
    let listener = TcpListener::bind(app).await.unwrap();
    Echo::default().serve_on(listener, CancellationToken::new());
    eventually("it is ready again", || readiness.is_ready()).await;
    shutdown.cancel();
    eventually("it is not ready while it drains", || !readiness.is_ready()).await;
    running.await.unwrap();
    assert!(!readiness.is_ready());
}

struct Started {
    /// Where it is reached.
    address: String,
    readiness: Readiness,
}

/// A sidecar of `echo-1` at `app`, and how to end it.
async fn sidecar(
    mesh: &Mesh,
    control: Channel,
    app: SocketAddr,
) -> (Started, CancellationToken, JoinHandle<()>) {
    let (_, followed) = watch::channel(Some(Arc::new(mesh.allowing(&["orders"]))));
    let sidecar = Sidecar::new(
        Workload {
            service: "echo".to_owned(),
            instance: "echo-1".to_owned(),
            app,
            advertise: None,
            particulars: Particulars {
                labels: [("version".to_owned(), "v2".to_owned())].into(),
                locality: "eu/eu-1".parse().unwrap(),
                weight: 7,
            },
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
    let started = Started {
        address: sidecar.inbound_address().to_string(),
        readiness: sidecar.readiness(),
    };
    let shutdown = CancellationToken::new();
    let grace = Grace {
        notice: Duration::from_millis(50),
        ..Grace::default()
    };
    let running = sidecar.run(Some(control), shutdown.clone().cancelled_owned(), grace);
    (
        started,
        shutdown,
        tokio::spawn(async { running.await.unwrap() }),
    )
}
