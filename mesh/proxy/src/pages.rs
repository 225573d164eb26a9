//! What operators see of a sidecar on its admin port, besides what every process shows there.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};
use weft_identity::Identity;
use weft_policy::ClusterStatus;

use crate::plane::{Core, Plane, Side};

/// Path, and what is there.
const INDEX: [(&str, &str); 10] = [
    ("/certs", "the certificate this workload proves itself with"),
    ("/clusters", "targets and endpoints (?format=json)"),
    ("/config_dump", "the configuration in force"),
    ("/healthz", "whether the process lives"),
    ("/inbound", "calls under way, rate limits, load shedding"),
    ("/listeners", "where calls are taken (?format=json)"),
    (
        "/logging",
        "the log level; POST /logging?level=debug changes it",
    ),
    ("/metrics", "also /stats/prometheus"),
    (
        "/readyz",
        "whether calls from elsewhere arrive, also /ready",
    ),
    ("/", "this page"),
];

/// Where a sidecar listens, and the data plane that knows the rest.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) plane: Weak<Plane>,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
}

impl Pages {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", get(async || Html(index())))
            .route("/certs", get(certificates))
            .route("/clusters", get(clusters))
            .route("/config_dump", get(configuration))
            .route("/inbound", get(inbound))
            .route("/listeners", get(listeners))
            .with_state(self)
    }

    /// Asks the data plane, without holding up the thread that serves the page.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let plane = Weak::clone(&self.plane);
        let asked = tokio::task::spawn_blocking(move || plane.upgrade()?.ask(question));
        let away = || {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the data plane does not answer\n",
            )
        };
        let answer = asked.await.ok().flatten();
        answer.ok_or_else(|| away().into_response())
    }
}

/// `?format=json`.
#[derive(Debug, serde::Deserialize)]
struct Format {
    #[serde(default)]
    format: String,
}

impl Format {
    fn is_json(&self) -> bool {
        self.format == "json"
    }
}

fn index() -> String {
    let mut page = "<!doctype html><html lang=en><meta charset=utf-8><title>weft sidecar</title>\
        <h1>weft sidecar</h1><ul>"
        .to_owned();
    for (path, what) in INDEX {
        // Writing into a `String` does not fail.
        let _ = write!(page, "<li><a href=\"{path}\">{path}</a> {what}");
    }
    page.push_str("</ul>\n");
    page
}

async fn certificates(State(pages): State<Pages>) -> Result<Response, Response> {
    let identity = pages.ask(|core| core.identity.clone()).await?;
    let certificates: Vec<_> = identity.iter().map(certificate).collect();
    Ok(Json(json!({ "certificates": certificates })).into_response())
}

fn certificate(identity: &Arc<Identity>) -> Value {
    let svid = identity.svid();
    let time = |time| {
        jiff::Timestamp::try_from(time)
            .map(|time| time.to_string())
            .ok()
    };
    let left = svid.not_after().duration_since(SystemTime::now());
    json!({
        "identity": svid.id().as_str(),
        "trustDomain": identity.bundle().trust_domain().as_str(),
        "notBefore": time(svid.not_before()),
        "notAfter": time(svid.not_after()),
        "secondsLeft": left.map_or(0, |left| left.as_secs()),
    })
}

async fn clusters(
    State(pages): State<Pages>,
    Query(format): Query<Format>,
) -> Result<Response, Response> {
    let clusters = pages.ask(|core| core.engine.clusters(core.now)).await?;
    Ok(match format.is_json() {
        true => Json(clusters).into_response(),
        false => table(&clusters).into_response(),
    })
}

/// As Envoy writes it: `TARGET::FACT::VALUE` and `TARGET::ENDPOINT::FACT::VALUE`.
fn table(clusters: &[ClusterStatus]) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let name = &cluster.authority;
        let Ok(Value::Object(mut facts)) = serde_json::to_value(cluster) else {
            continue;
        };
        let endpoints = facts.remove("endpoints");
        facts.remove("authority");
        write_facts(&mut text, name, facts);
        let endpoints = endpoints.as_ref().and_then(Value::as_array);
        for endpoint in endpoints.into_iter().flatten() {
            let mut facts = endpoint.as_object().cloned().unwrap_or_default();
            let address = facts.remove("address").unwrap_or_default();
            let name = format!("{name}::{}", address.as_str().unwrap_or_default());
            write_facts(&mut text, &name, facts);
        }
    }
    text
}

fn write_facts(text: &mut String, name: &str, facts: Map<String, Value>) {
    for (fact, value) in facts {
        // Writing into a `String` does not fail.
        let _ = match value {
            Value::Null => Ok(()),
            Value::String(value) => writeln!(text, "{name}::{fact}::{value}"),
            value => writeln!(text, "{name}::{fact}::{value}"),
        };
    }
}

async fn configuration(State(pages): State<Pages>) -> Result<Response, Response> {
    let snapshot = pages.ask(|core| core.snapshot.clone()).await?;
    match snapshot {
        Some(snapshot) => Ok(Json(json!({ "snapshot": &*snapshot })).into_response()),
        None => Err((StatusCode::SERVICE_UNAVAILABLE, "no configuration yet\n").into_response()),
    }
}

async fn inbound(State(pages): State<Pages>) -> Result<Response, Response> {
    let status = pages.ask(|core| core.inbound.status()).await?;
    Ok(Json(status).into_response())
}

async fn listeners(
    State(pages): State<Pages>,
    Query(format): Query<Format>,
) -> Result<Response, Response> {
    let count =
        |core: &mut Core| [Side::Inbound, Side::Outbound].map(|side| core.connections(side));
    let [inbound, outbound] = pages.ask(count).await?;
    let listeners = [
        ("inbound", pages.inbound, inbound),
        ("outbound", pages.outbound, outbound),
    ];
    if format.is_json() {
        let listeners = listeners.map(|(name, address, connections)| {
            json!({ "name": name, "address": address, "connections": connections })
        });
        return Ok(Json(listeners).into_response());
    }
    let lines = listeners.map(|(name, address, _)| format!("{name}::{address}\n"));
    Ok(lines.concat().into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_names_every_page_once() {
        let page = index();
        for (path, _) in INDEX {
            assert_eq!(page.matches(&format!("\"{path}\"")).count(), 1, "{path}");
        }
    }
}
