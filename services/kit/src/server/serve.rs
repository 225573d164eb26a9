//! The life of a server: serve, drain, end.

use std::time::Duration;

use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tracing::{Instrument as _, info_span};
use weft_runtime::admin::{Admin, Readiness};

use super::{App, PendingTask, Server, guard::Guard, listen, reflection};
use crate::{Db, StoreError, idempotency, outbox};

/// How long the database may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// When the database is tidied up for the first time, once the start is over, and how often then.
const FIRST_HOUSEKEEPING: Duration = Duration::from_secs(60);
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

pub(super) async fn serve(
    server: Server,
    listener: TcpListener,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let Server {
        db,
        routes,
        services,
        tasks,
        drain,
        drain_grace,
        drain_delay,
        admin,
        readiness,
        connections: serve,
    } = server;
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

    let mut admin_port = serve_admin(admin, &state.readiness)?;
    let mut background = start_tasks(tasks, db.clone(), &state.drain);
    tracing::info!(address = %listener.local_addr()?, services = ?state.services, "listening");
    state.set_serving(true).await;

    let mut connections = JoinSet::new();
    let ended = tokio::select! {
        () = listen::accept(&listener, app, &serve, &mut connections, &closing, state.drain_start(token)) => Ok(()),
        ended = first_unexpected_end(&mut background, &state.drain) => ended,
        ended = first_unexpected_end(&mut admin_port, &state.drain) => ended,
    };
    if !state.drain.is_cancelled() {
        state.set_serving(false).await;
        state.drain.cancel();
    }
    drop(listener);
    closing.cancel();
    finish(connections, background, drain_grace).await;
    admin_port.shutdown().await;
    let _ = tokio::time::timeout(CLOSE_WAIT, db.close()).await;
    ended
}

fn serve_admin(
    listener: Option<TcpListener>,
    readiness: &Readiness,
) -> anyhow::Result<JoinSet<Ended>> {
    let mut port = JoinSet::new();
    if let Some(listener) = listener {
        tracing::info!(address = %listener.local_addr()?, "admin listening");
        let pages = Admin {
            readiness: readiness.clone(),
            ..Admin::default()
        };
        let serving = weft_runtime::admin::serve(listener, pages, CancellationToken::new());
        port.spawn(async move { ("admin", serving.await.map_err(anyhow::Error::from)) });
    }
    Ok(port)
}

fn start_tasks(tasks: Vec<PendingTask>, db: Db, drain: &CancellationToken) -> JoinSet<Ended> {
    let mut background = JoinSet::new();
    for PendingTask { name, start } in tasks {
        let task = start(drain.clone());
        let named = async move { (name, task.await) };
        background.spawn(named.instrument(info_span!("task", name)));
    }
    background.spawn(housekeeping(db, drain.clone()));
    background
}

/// Lets open calls and tasks end by themselves within `grace`, then ends them.
async fn finish(mut connections: JoinSet<()>, mut background: JoinSet<Ended>, grace: Duration) {
    let by_themselves = async {
        while connections.join_next().await.is_some() {}
        while background.join_next().await.is_some() {}
    };
    if tokio::time::timeout(grace, by_themselves).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            tasks = background.len(),
            "drain grace is over, ending what is open"
        );
        connections.shutdown().await;
        background.shutdown().await;
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
) -> App {
    let health = HealthService::from_health_reporter(health.clone());
    routes.add_service(HealthServer::new(health));
    let (v1, v1alpha) = reflection::services(services);
    routes.add_service(v1).add_service(v1alpha);
    App::new(Guard::new(routes.routes().prepare(), services, closing))
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

/// Forgets what nobody needs any more, every hour.
async fn housekeeping(db: Db, drain: CancellationToken) -> Ended {
    let mut due = tokio::time::interval_at(Instant::now() + FIRST_HOUSEKEEPING, HOUSEKEEPING);
    loop {
        tokio::select! {
            () = drain.cancelled() => return ("housekeeping", Ok(())),
            _ = due.tick() => {}
        }
        let forgotten = async {
            let results = idempotency::forget_old(&db).await?;
            Ok::<_, StoreError>((results, outbox::forget_old(&db).await?))
        };
        match forgotten.await {
            Ok((results, events)) => tracing::debug!(results, events, "forgot what is old"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what is old stays"
                );
            }
        }
    }
}
