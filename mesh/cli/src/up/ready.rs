//! Whether processes are ready.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use super::{
    board::Board,
    plan::{Kind, Spec},
    progress::Progress,
};
use crate::http_get;

/// How often a process that starts is asked.
const STARTING: Duration = Duration::from_millis(50);
/// How often one that was ready is asked.
const SETTLED: Duration = Duration::from_secs(1);

/// Asks a process for `/readyz`, for ever, and keeps the answer on the board.
pub async fn watch(spec: Spec, board: Arc<Board>) {
    let Some(admin) = spec.admin() else {
        return;
    };
    loop {
        let asked = board.process(&spec.name);
        let mut ready = false;
        if let Some(pid) = asked.as_ref().and_then(|process| process.pid) {
            let answer = http_get::get(admin, "/readyz").await;
            ready = answer.is_ok_and(|(status, _)| status.is_success());
            // The answer is about the process that was asked, which may be gone by now.
            if asked.is_some_and(|process| process.ready != ready) {
                board.change(&spec.name, |process| {
                    process.ready = if process.pid == Some(pid) {
                        ready
                    } else {
                        process.ready
                    };
                });
            }
        }
        sleep(if ready { SETTLED } else { STARTING }).await;
    }
}

/// Returns once every process of a stage is ready.
pub async fn wait(stage: &[&Spec], board: &Board, progress: &Progress) {
    loop {
        let waiting: Vec<_> = stage
            .iter()
            .map(|spec| spec.name.as_str())
            .filter(|name| board.process(name).is_some_and(|process| !process.ready))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let shown = waiting[..waiting.len().min(6)].join(", ");
        let more = match waiting.len().saturating_sub(6) {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        progress.update(&format!("waiting for {shown}{more}"));
        sleep(STARTING).await;
    }
}

/// How long the last of the configuration may take to arrive. It is no reason to give up: calls that
/// come too early are refused with a reason.
const SETTLE: Duration = Duration::from_secs(5);

/// Waits until control has an endpoint for every replica and every proxy has accepted what it was sent.
pub async fn settle(specs: &[Spec], control: SocketAddr) {
    let mut replicas = BTreeMap::new();
    let sidecars = specs.iter().filter(|spec| spec.kind == Kind::Sidecar);
    for service in sidecars.filter_map(|spec| spec.service.as_deref()) {
        *replicas.entry(service).or_insert(0_usize) += 1;
    }
    let settled = async {
        loop {
            if let Ok((_, body)) = http_get::get(control, "/status").await
                && let Ok(status) = serde_json::from_slice(&body)
                && is_settled(&status, &replicas)
            {
                return;
            }
            sleep(STARTING).await;
        }
    };
    let _ = tokio::time::timeout(SETTLE, settled).await;
}

fn is_settled(status: &Value, replicas: &BTreeMap<&str, usize>) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let found = list(&status["services"]).iter().all(|service| {
        let expected = service["name"].as_str().and_then(|name| replicas.get(name));
        list(&service["endpoints"]).len() >= expected.copied().unwrap_or_default()
    });
    let accepted = list(&status["nodes"]).iter().all(|node| {
        let types = node["types"].as_object().cloned().unwrap_or_default();
        types.values().all(|kind| kind["sent"] == kind["acked"])
    });
    found && accepted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settled_is_every_replica_known_and_every_version_accepted() {
        let status = |endpoints: Value, acked: &str| {
            json!({
                "services": [{ "name": "catalogue", "endpoints": endpoints }],
                "nodes": [{ "types": { "clusters": { "sent": "b", "acked": acked } } }],
            })
        };
        let replicas = BTreeMap::from([("catalogue", 2)]);
        assert!(is_settled(&status(json!([1, 2]), "b"), &replicas));
        assert!(!is_settled(&status(json!([1]), "b"), &replicas));
        assert!(!is_settled(&status(json!([1, 2]), "a"), &replicas));
    }
}
