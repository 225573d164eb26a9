//! `weft stop` and `weft start`.

use std::{
    fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    args::{StartArgs, StopArgs},
    data::{DataFolder, Process, State},
    locate, system,
};

const POLL: Duration = Duration::from_millis(50);

/// Asks `weft up` to drain, or to drain one service, and waits until that has happened.
///
/// # Errors
///
/// If it cannot be asked or does not end in time.
pub fn run(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    let Some(state) = data.state()?.filter(State::is_running) else {
        say!("nothing runs in {}", data.path().display());
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(service) = &args.service {
        known(&state, service)?;
        let file = data.held(service);
        fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
        wait(&data, service, args.timeout, |process| {
            process.held && process.pid.is_none()
        })?;
        say!("{service} is stopped; `weft start {service}` starts it again");
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "draining the mesh in {} (pid {})",
        data.path().display(),
        state.pid
    );
    system::terminate(state.pid)?;
    let started = Instant::now();
    while state.is_running() {
        if started.elapsed() > args.timeout {
            bail!(
                "weft up (pid {0}) has not ended within {1:?}\n  help: see {2}; kill -9 {0} ends it \
                 and all its processes",
                state.pid,
                args.timeout,
                data.logs().display()
            );
        }
        thread::sleep(POLL);
    }
    say!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Lets a stopped service start again and waits until it is ready.
///
/// # Errors
///
/// If nothing runs, or it is not ready in time.
pub fn start(args: &StartArgs) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    let Some(state) = data.state()?.filter(State::is_running) else {
        bail!(
            "nothing runs in {}\n  help: `weft up` starts everything",
            data.path().display()
        );
    };
    let service = &args.service;
    known(&state, service)?;
    let file = data.held(service);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", file.display()));
        }
        _ => {}
    }
    wait(&data, service, args.timeout, |process| process.ready)?;
    say!("{service} is ready");
    Ok(ExitCode::SUCCESS)
}

fn known(state: &State, service: &str) -> anyhow::Result<()> {
    let mut known: Vec<_> = state
        .processes
        .iter()
        .filter_map(|p| p.service.as_deref())
        .collect();
    known.dedup();
    if !known.contains(&service) {
        bail!(
            "no service `{service}` runs\n  help: there are {}",
            known.join(", ")
        );
    }
    Ok(())
}

/// Waits until every process of a service is as wanted.
fn wait(
    data: &DataFolder,
    service: &str,
    timeout: Duration,
    wanted: impl Fn(&Process) -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let state = data
            .state()?
            .filter(State::is_running)
            .context("the mesh has ended meanwhile")?;
        let of_service = |process: &&Process| process.service.as_deref() == Some(service);
        if state.processes.iter().filter(of_service).all(&wanted) {
            return Ok(());
        }
        if started.elapsed() > timeout {
            bail!("{service} has not followed within {timeout:?}\n  help: weft logs {service}");
        }
        thread::sleep(POLL);
    }
}
