//! Serving gRPC until asked to drain.

mod body;
mod contract;
mod guard;
mod listen;
mod metrics;
mod reflection;
mod serve;

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tower::Service;
use weft_runtime::admin::Readiness;

use crate::{Args, Db};
pub use listen::{App, ServeConnection};
pub(crate) use metrics::code_name;

type Task = BoxFuture<'static, anyhow::Result<()>>;

/// A service process in the making: its gRPC services, its background tasks, its admin port.
///
/// Besides what is added it serves `grpc.health.v1.Health` and reflection (v1 and v1alpha), and every
/// call gets a span under the caller's trace, metrics, the caller's deadline, and `INTERNAL` instead
/// of a broken connection if its handler panics. Requests are limited to 4 MiB.
///
/// When the token is cancelled it drains: health and readiness say no, after
/// [`Server::drain_delay`] no new connection or call is taken, open calls may finish within
/// [`Server::drain_grace`], then the rest ends with the connection.
pub struct Server {
    db: Db,
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    tasks: Vec<PendingTask>,
    drain: CancellationToken,
    drain_grace: Duration,
    drain_delay: Duration,
    admin: Option<TcpListener>,
    readiness: Readiness,
    connections: ServeConnection,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("services", &self.services)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

struct PendingTask {
    name: &'static str,
    start: Box<dyn FnOnce(CancellationToken) -> Task + Send>,
}

impl std::fmt::Debug for PendingTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Server {
    /// A server without services. `db` is kept tidy while it runs and closed at the end.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            routes: RoutesBuilder::default(),
            services: Vec::new(),
            tasks: Vec::new(),
            drain: CancellationToken::new(),
            drain_grace: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            admin: None,
            readiness: Readiness::default(),
            connections: Arc::new(|stream, app, closing| {
                Box::pin(listen::cleartext(stream, app, closing))
            }),
        }
    }

    /// Adds a generated server, such as `OrderServiceServer::new(orders)`.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible, Response = Response<Body>>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Serves the events of the database's outbox as `weft.events.v1.EventService`.
    #[must_use]
    pub fn with_events(self) -> Self {
        let service = crate::events::event_service(self.db.clone(), self.drain.clone());
        self.add_service(service)
    }

    /// Runs a task beside the service, such as a saga that is resumed or a consumer of events. It gets
    /// a token that is cancelled when the service drains, and must end soon after. If it fails, or ends
    /// before, the whole service ends.
    #[must_use]
    pub fn with_task<F>(
        mut self,
        name: &'static str,
        task: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.push(PendingTask {
            name,
            start: Box::new(|token| Box::pin(task(token))),
        });
        self
    }

    /// A token that is cancelled when the server drains, for streams that would otherwise hold it up:
    /// end them with `UNAVAILABLE`.
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Lets somebody else serve the connections that are accepted: a mesh in this process, which wants
    /// mutual TLS and asks its rules first. Default: cleartext HTTP/2.
    #[must_use]
    pub fn with_connections<F>(
        mut self,
        serve: impl Fn(TcpStream, App, CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.connections =
            Arc::new(move |stream, app, closing| Box::pin(serve(stream, app, closing)));
        self
    }

    /// Whether calls are taken, for whoever tells others about this server.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// How long open calls may finish. Default: 10 s.
    #[must_use]
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.drain_grace = grace;
        self
    }

    /// How long calls are still taken after health said no, so that the sidecar has seen it. Default:
    /// none; [`Server::run`] sets 500 ms.
    #[must_use]
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` on this listener.
    #[must_use]
    pub fn with_admin(mut self, listener: TcpListener) -> Self {
        self.admin = Some(listener);
        self
    }

    /// Binds the addresses of `args` and serves until `token` is cancelled and all is drained.
    ///
    /// # Errors
    ///
    /// If an address is taken or a task fails.
    pub fn run(
        self,
        args: &Args,
        token: CancellationToken,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let (listen, admin) = (args.listen, args.admin_listen);
        let server = self
            .drain_grace(args.drain_grace)
            .drain_delay(Duration::from_millis(500));
        Box::pin(async move {
            let listener = bind(listen, "LISTEN").await?;
            let server = server.with_admin(bind(admin, "ADMIN_LISTEN").await?);
            server.serve(listener, token).await
        })
    }

    /// Serves on a bound listener until `token` is cancelled and all is drained.
    ///
    /// # Errors
    ///
    /// If the listener or a task fails.
    pub fn serve(
        self,
        listener: TcpListener,
        token: CancellationToken,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(serve::serve(self, listener, token))
    }
}

async fn bind(address: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {name} {address}"))
}
