//! What the control plane knows, as JSON for programs and as a page for people.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, Router, extract::State, http::header, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use tokio::sync::watch;
use weft_model::Mesh;

use crate::{
    mesh_file::FileState,
    nodes::{ConnectedNodes, Node, distinct},
    page,
    planner::Workloads,
};

/// Where the status comes from.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) mesh: watch::Receiver<Arc<Mesh>>,
    pub(crate) file: watch::Receiver<FileState>,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) nodes: Arc<ConnectedNodes>,
    pub(crate) started: SystemTime,
}

/// `/status` and `/`.
pub(crate) fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/status", get(show_json))
        .with_state(sources)
}

async fn show_json(State(sources): State<Sources>) -> Json<Value> {
    Json(sources.status())
}

async fn show_page(State(sources): State<Sources>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page::render(&sources.status()))
}

impl Sources {
    pub(crate) fn status(&self) -> Value {
        let mesh = self.mesh.borrow().clone();
        let file = self.file.borrow().clone();
        let workloads = self.workloads.list();
        let services: Vec<_> = mesh
            .services
            .values()
            .map(|service| {
                let endpoints: Vec<_> = workloads
                    .iter()
                    .filter(|workload| workload.service == service.name.value)
                    .map(|workload| {
                        json!({ "instance": workload.instance, "address": workload.address })
                    })
                    .collect();
                json!({
                    "name": service.name.value,
                    "authority": service.authority(),
                    "identity": (!service.is_outside())
                        .then(|| mesh.identity(&service.service_account)),
                    "endpoints": endpoints,
                })
            })
            .collect();
        let nodes = self.nodes.list();
        json!({
            "trustDomain": mesh.trust_domain,
            "namespace": mesh.namespace,
            "startedAt": seconds(self.started),
            "meshFile": {
                "path": file.path,
                "loadedAt": seconds(file.loaded_at),
                "problems": file.problems,
            },
            "services": services,
            "connectedNodes": distinct(&nodes),
            "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

fn node(node: &Node) -> Value {
    let types: serde_json::Map<_, _> = node
        .types
        .iter()
        .map(|(kind, status)| {
            let refused = status.refused.as_ref().map(|refused| {
                json!({
                    "version": refused.version,
                    "detail": refused.detail,
                    "at": seconds(refused.at),
                })
            });
            let value = json!({
                "sent": status.sent,
                "acked": status.acked,
                "nacked": refused,
            });
            (kind.to_string(), value)
        })
        .collect();
    json!({
        "node": node.name,
        "identity": node.identity,
        "userAgent": node.user_agent,
        "connectedAt": seconds(node.since),
        "types": types,
    })
}

/// Seconds since the epoch.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
