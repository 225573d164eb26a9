//! `weft stop`.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{args::StopArgs, data::DataFolder, locate, system};

/// Asks `weft up` to drain and waits until it has ended.
///
/// # Errors
///
/// If it cannot be signalled or does not end in time.
pub fn run(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    let Some(state) = data.state()?.filter(crate::data::State::is_running) else {
        println!("nothing runs in {}", data.path().display());
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "draining the mesh in {} (pid {})",
        data.path().display(),
        state.pid
    );
    system::terminate(state.pid)?;
    let started = Instant::now();
    while state.is_running() {
        if started.elapsed() > args.timeout {
            bail!(
                "weft up (pid {}) has not ended within {:?}\n  help: see {}; kill -9 {0} ends it and \
                 all its processes",
                state.pid,
                args.timeout,
                data.logs().display()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}
