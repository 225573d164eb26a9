//! Waits until processes are ready.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{board::Board, plan::Spec, progress::Progress};
use crate::http_get;

const POLL: Duration = Duration::from_millis(50);

/// Returns once every process has answered `/readyz` with success since it was last started.
pub async fn wait(stage: &[&Spec], board: &Arc<Board>, progress: &Progress) {
    let mut polls = JoinSet::new();
    let mut waiting: Vec<_> = stage.iter().map(|spec| spec.name.clone()).collect();
    for spec in stage {
        if let Some(admin) = spec.admin() {
            polls.spawn(poll(spec.name.clone(), admin, Arc::clone(board)));
        }
    }
    loop {
        let shown: Vec<_> = waiting.iter().take(6).map(String::as_str).collect();
        let more = match waiting.len() - shown.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        progress.update(&format!("waiting for {}{more}", shown.join(", ")));
        match polls.join_next().await {
            Some(Ok(name)) => waiting.retain(|other| *other != name),
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn poll(name: String, admin: std::net::SocketAddr, board: Arc<Board>) -> String {
    loop {
        if let Ok((status, _)) = http_get::get(admin, "/readyz").await
            && status.is_success()
        {
            board.change(&name, |process| process.ready = true);
            return name;
        }
        sleep(POLL).await;
    }
}
