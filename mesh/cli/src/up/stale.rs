//! Ends what an earlier `weft up` left behind when it was killed.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::progress::Progress;
use crate::{data::DataFolder, system};

/// How long such a process may drain: it lost its parent and drains already.
const GRACE: Duration = Duration::from_secs(3);

/// Ends the processes that `state.json` names and that are surely the same ones.
///
/// # Errors
///
/// If one cannot be signalled.
pub fn clean(data: &DataFolder, progress: &Progress) -> anyhow::Result<()> {
    let state = match data.state() {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(()),
        Err(error) => {
            // Whoever wrote it is gone; its processes end by themselves when their parent does.
            progress.line(&format!("warning: {error:#}"));
            return Ok(());
        }
    };
    let left: Vec<_> = state
        .processes
        .iter()
        .filter(|process| process.live_pid().is_some())
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    progress.line(&format!(
        "ending {} processes that an earlier run left behind",
        left.len()
    ));
    for pid in left.iter().filter_map(|process| process.live_pid()) {
        system::terminate(pid)?;
    }
    let started = Instant::now();
    while left.iter().any(|process| process.live_pid().is_some()) {
        if started.elapsed() > GRACE {
            for pid in left.iter().filter_map(|process| process.live_pid()) {
                system::kill(pid)?;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
