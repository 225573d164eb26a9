//! Serving gRPC until asked to drain.

mod body;
mod contract;
mod guard;
mod listen;
mod metrics;
mod reflection;

use std::{convert::Infallible, future::Future, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::Service;
use tracing::{Instrument as _, info_span};
use weft_runtime::admin::{Admin, Readiness};

use crate::{Args, Db, idempotency};
use guard::Guard;

const CLOSE_WAIT: Duration = Duration::from_secs(2);
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

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
#[derive(Debug)]
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
        Box::pin(self.serve_inner(listener, token))
    }

    async fn serve_inner(
        self,
        listener: TcpListener,
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self {
            db,
            routes,
            services,
            tasks,
            drain,
            drain_grace,
            drain_delay,
            admin,
            readiness,
        } = self;
        // Whatever way serving ends, streams and tasks learn of it.
        let _end = drain.clone().drop_guard();
        let health = HealthReporter::new();
        let closing = CancellationToken::new();
        let app = app(routes, &services, &health, closing.clone());
        let state = State {
            health,
            readiness,
            services,
            drain,
            drain_delay,
        };

        let mut admin_port = JoinSet::new();
        if let Some(admin) = admin {
            tracing::info!(address = %admin.local_addr()?, "admin listening");
            let pages = Admin {
                readiness: state.readiness.clone(),
                ..Admin::default()
            };
            let serving = weft_runtime::admin::serve(admin, pages, CancellationToken::new());
            admin_port.spawn(async move { ("admin", serving.await.map_err(anyhow::Error::from)) });
        }
        let mut background = JoinSet::new();
        for PendingTask { name, start } in tasks {
            let task = start(state.drain.clone());
            background
                .spawn(async move { (name, task.await) }.instrument(info_span!("task", name)));
        }
        background.spawn(housekeeping(db.clone(), state.drain.clone()));
        tracing::info!(address = %listener.local_addr()?, services = ?state.services, "listening");
        state.set_serving(true).await;

        let mut connections = JoinSet::new();
        let ended = tokio::select! {
            () = listen::accept(&listener, app, &mut connections, &closing, state.drain_start(token)) => Ok(()),
            ended = first_unexpected_end(&mut background, &state.drain) => ended,
            ended = first_unexpected_end(&mut admin_port, &state.drain) => ended,
        };
        if !state.drain.is_cancelled() {
            state.set_serving(false).await;
            state.drain.cancel();
        }
        drop(listener);
        closing.cancel();
        let finish = async {
            while connections.join_next().await.is_some() {}
            while background.join_next().await.is_some() {}
        };
        if tokio::time::timeout(drain_grace, finish).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                tasks = background.len(),
                "drain grace is over, ending what is open"
            );
            connections.shutdown().await;
            background.shutdown().await;
        }
        admin_port.shutdown().await;
        let _ = tokio::time::timeout(CLOSE_WAIT, db.close()).await;
        ended
    }
}

/// What others are told about the server.
struct State {
    health: HealthReporter,
    readiness: Readiness,
    services: Vec<&'static str>,
    drain: CancellationToken,
    drain_delay: Duration,
}

impl State {
    async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in self.services.iter().chain(&[""]) {
            self.health.set_service_status(service, status).await;
        }
        self.readiness.set(serving);
    }

    /// Resolves when no more calls shall be taken.
    async fn drain_start(&self, token: CancellationToken) {
        token.cancelled().await;
        self.set_serving(false).await;
        // Long streams end now; the sidecar has the delay to see that we are going.
        self.drain.cancel();
        tokio::time::sleep(self.drain_delay).await;
    }
}

fn app(
    mut routes: RoutesBuilder,
    services: &[&'static str],
    health: &HealthReporter,
    closing: CancellationToken,
) -> Guard {
    let health = HealthService::from_health_reporter(health.clone());
    routes.add_service(HealthServer::new(health));
    let (v1, v1alpha) = reflection::services(services);
    routes.add_service(v1).add_service(v1alpha);
    Guard::new(routes.routes().prepare(), services, closing)
}

async fn bind(address: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {name} {address}"))
}

type Ended = (&'static str, anyhow::Result<()>);

/// Resolves when a task fails, or ends without having been asked to.
async fn first_unexpected_end(
    tasks: &mut JoinSet<Ended>,
    drain: &CancellationToken,
) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((_, Ok(()))) if drain.is_cancelled() => {}
            Ok((name, Ok(()))) => anyhow::bail!("task {name} ended before the service"),
            Ok((name, Err(error))) => return Err(error.context(format!("task {name} failed"))),
            Err(panicked) => return Err(anyhow::Error::new(panicked).context("a task panicked")),
        }
    }
    std::future::pending().await
}

async fn housekeeping(db: Db, drain: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            () = drain.cancelled() => return ("housekeeping", Ok(())),
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
        match idempotency::forget_old(&db).await {
            Ok(count) => tracing::debug!(count, "forgot old results"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old results stay");
            }
        }
    }
}
