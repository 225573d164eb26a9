//! `weft up --detach`: the same in the background.

use std::{
    env,
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weft_model::Mesh;

use super::{progress::Progress, screen};
use crate::{args::UpArgs, data::DataFolder, logs, system};

const POLL: Duration = Duration::from_millis(50);

/// Starts `weft up` in the background and returns once it is ready.
///
/// # Errors
///
/// If it ends before, or `asked` is cancelled before; then it is drained.
pub async fn run(
    args: &UpArgs,
    mesh: &Mesh,
    data: &DataFolder,
    progress: &Progress,
    asked: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let path = data.log("up");
    let log = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let own = env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach");
    let mut child = Command::new(system::own_executable()?)
        .args(own)
        .env_remove("EXIT_ON_STDIN_CLOSE")
        .stdin(Stdio::null())
        // The screen is shown here.
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("weft up cannot be started")?;
    loop {
        if let Some(status) = child.try_wait()? {
            let lines = logs::tail(&path, 60).join("\n");
            progress.clear();
            bail!("weft up in the background ended with {status}:\n{lines}");
        }
        // Written as a whole, so never half read; a state of an earlier run has another pid.
        if let Ok(Some(state)) = data.state()
            && state.pid == child.id()
        {
            if state.ready {
                progress.clear();
                screen::show(mesh, &state, args, data, true);
                return Ok(ExitCode::SUCCESS);
            }
            let ready = state
                .processes
                .iter()
                .filter(|process| process.ready)
                .count();
            progress.update(&format!(
                "{ready}/{} processes are ready",
                state.processes.len()
            ));
        }
        tokio::select! {
            () = sleep(POLL) => {}
            () = asked.cancelled() => {
                progress.update("draining what was started");
                system::terminate(child.id())?;
                while child.try_wait()?.is_none() {
                    sleep(POLL).await;
                }
                progress.clear();
                bail!("stopped before everything was ready\n\nnothing is left running");
            }
        }
    }
}
