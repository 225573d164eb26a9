//! The admin port: metrics, health and whatever pages a process adds. It is for operators on the
//! machine or in the cluster, never for the world.

use std::{collections::HashMap, io};

use axum::{
    Router,
    extract::Query,
    http::{HeaderMap, StatusCode, header},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    telemetry::filter::{self, FilterError},
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process can do its work now. Cloning gives the same flag; it starts unready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(watch::Sender<bool>);

impl Readiness {
    /// Sets the flag.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }

    /// Reads the flag.
    pub fn is_ready(&self) -> bool {
        *self.0.borrow()
    }

    /// Follows the flag.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// What the admin port shows.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/readyz`: 200 if ready, else 503.
    pub readiness: Readiness,
    /// More pages; they must not use the paths that [`serve`] has.
    pub routes: Router,
}

/// Serves `/metrics` (also `/stats/prometheus`), `/healthz`, `/readyz` (also `/ready`), `/logging` and the
/// extra routes over HTTP/1.1 and HTTP/2 until `token` is cancelled. Open connections are not waited for.
///
/// `GET /logging` shows which log lines are written, `POST /logging?level=debug` changes it: a level, or
/// levels of targets as in `RUST_LOG`.
///
/// # Errors
///
/// If the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    token: CancellationToken,
) -> io::Result<()> {
    let serving = axum::serve(listener, router(admin));
    tokio::select! {
        served = async { serving.await } => served,
        () = token.cancelled() => Ok(()),
    }
}

fn router(admin: Admin) -> Router {
    let Admin {
        metrics,
        readiness,
        routes,
    } = admin;
    let show_metrics = move || {
        let text = metrics.encode();
        async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], text) }
    };
    let show_readiness = move || {
        let answer = if readiness.is_ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        };
        async move { answer }
    };
    Router::new()
        .route("/metrics", get(show_metrics.clone()))
        .route("/stats/prometheus", get(show_metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(show_readiness.clone()))
        .route("/ready", get(show_readiness))
        .route("/logging", get(show_logging).post(change_logging))
        .merge(routes)
}

async fn show_logging() -> (StatusCode, String) {
    match filter::current() {
        Some(current) => (StatusCode::OK, format!("{current}\n")),
        None => (StatusCode::NOT_FOUND, format!("{}\n", FilterError::Unset)),
    }
}

async fn change_logging(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, String) {
    // A page in the browser of an operator can send a form here, but not without saying where it is from.
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "not from a web page\n".to_owned());
    }
    let level = query.get("level").map_or("", String::as_str);
    match filter::set(level) {
        Ok(()) => {
            tracing::info!(level, "log level changed");
            show_logging().await
        }
        Err(error @ FilterError::Invalid { .. }) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
        Err(error) => (StatusCode::CONFLICT, format!("{error}\n")),
    }
}
