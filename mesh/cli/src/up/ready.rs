//! Whether processes are ready.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{board::Board, plan::Spec, progress::Progress};
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
