//! `weft up`: builds, starts, watches and drains everything in the mesh file.
//!
//! [`plan`] decides what to start, [`supervise`] keeps one process running, this file orders them:
//! control first, then everything else; at the end edge, services, sidecars, control.

mod board;
mod build;
mod detach;
mod hold;
mod keys;
mod plan;
mod ports;
mod progress;
mod ready;
mod screen;
mod signals;
mod stale;
mod supervise;
mod upkeep;

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{anyhow, bail};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use weft_model::Mesh;

use self::{
    board::Board,
    hold::Holds,
    plan::{Kind, Plan, Spec},
    progress::Progress,
    supervise::{Context, Event},
};
use crate::{
    args::UpArgs,
    data::{DataFolder, State},
    locate, logs,
    terminal::Paint,
};

/// How many lines of a log an error shows.
const LOG_LINES: usize = 15;

/// Runs the mesh until it is asked to stop.
///
/// # Errors
///
/// Whatever kept it from starting; nothing is left running then.
pub fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let file = locate::mesh_file(args.place.mesh.as_deref())?;
    let mesh = match Mesh::checked(&file, contracts::pool()) {
        Ok(mesh) => mesh,
        Err(problems) => {
            if args.json {
                say!("{}", problems.to_json());
            }
            complain!("{problems}\nnothing was started");
            return Ok(ExitCode::FAILURE);
        }
    };
    for name in &args.only {
        if !mesh.services.contains_key(name) {
            let known: Vec<_> = mesh.services.keys().map(String::as_str).collect();
            bail!(
                "--only {name}: no such service\n  help: there are {}",
                known.join(", ")
            );
        }
    }
    let workspace = locate::workspace(&file)?;
    let data = DataFolder::new(locate::data_folder(&args.place)?);
    data.create()?;
    weft_runtime::runtime()?.block_on(build_and_run(args, &mesh, &data, &workspace))
}

async fn build_and_run(
    args: &UpArgs,
    mesh: &Mesh,
    data: &DataFolder,
    workspace: &Path,
) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let kill = CancellationToken::new();
    let asked = signals::watch(kill.clone())?;
    let packages = plan::packages(mesh, &args.only);
    let programs = async {
        match args.no_build {
            true => build::siblings(&packages),
            false => build::build(&packages, workspace, &progress, &asked).await,
        }
    };
    if args.detach {
        programs.await?;
        return detach::run(args, mesh, data, &progress, &asked).await;
    }
    let _lock = data.lock()?;
    stale::clean(data, &progress)?;
    // Before the build: nobody wants to wait for that to learn of a taken port.
    ports::FreePorts::default().demand(args.listen.unwrap_or(mesh.edge.listen))?;
    let programs = programs.await?;
    let plan = plan::plan(mesh, args, data, workspace, &programs)?;
    Running::run(args, mesh, data, plan, &progress, asked, kill).await
}

/// The processes of one run.
struct Running<'a> {
    context: Context,
    events: mpsc::Receiver<Event>,
    progress: &'a Progress,
    holds: Arc<Holds>,
    supervisors: Vec<(Kind, CancellationToken, tokio::task::JoinHandle<()>)>,
}

impl<'a> Running<'a> {
    async fn run(
        args: &UpArgs,
        mesh: &Mesh,
        data: &DataFolder,
        plan: Plan,
        progress: &'a Progress,
        asked: CancellationToken,
        kill: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let (events_sender, events) = mpsc::channel(64);
        let board = Board::new(data.clone(), board::first_state(mesh, &plan)?)?;
        let mut running = Self {
            context: Context {
                board: Arc::new(board),
                token_key: Arc::new(weft_identity::token::load_or_create_key(&plan.token_key)?),
                events: events_sender,
                started: CancellationToken::new(),
                kill,
                grace: args.grace,
            },
            events,
            progress,
            holds: Arc::new(Holds::new(data, mesh.services.keys())?),
            supervisors: Vec::new(),
        };
        let mut upkeep = JoinSet::new();
        upkeep.spawn(hold::watch(data.clone(), Arc::clone(&running.holds)));
        for spec in &plan.specs {
            upkeep.spawn(ready::watch(
                spec.clone(),
                Arc::clone(&running.context.board),
            ));
        }
        upkeep.spawn(upkeep::rotate_logs(
            plan.specs.iter().map(|spec| spec.log.clone()).collect(),
        ));

        let started = std::time::Instant::now();
        let result = tokio::select! {
            result = running.start(args, &plan) => result,
            () = asked.cancelled() => Err(anyhow!("stopped before everything was ready")),
        };
        if let Err(error) = result {
            progress.update("draining what was started");
            running.drain().await;
            progress.clear();
            bail!("{error:#}\n\nnothing is left running");
        }
        running.context.started.cancel();
        running.context.board.change_all(|state| state.ready = true);
        let ready = format!("ready in {:.1} s", started.elapsed().as_secs_f32());
        progress.line(&Paint::stderr().good(&ready));
        screen::show(mesh, &running.context.board.state(), args, data, false);

        running.watch(&asked).await;
        progress
            .line("draining: edge, services, sidecars, control (Ctrl-C again ends them at once)");
        running.drain().await;
        progress.line("stopped");
        Ok(ExitCode::SUCCESS)
    }

    /// Starts control, then the rest, and waits until all are ready.
    async fn start(&mut self, args: &UpArgs, plan: &Plan) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + args.ready_timeout;
        let (control, others): (Vec<&Spec>, Vec<&Spec>) = plan
            .specs
            .iter()
            .partition(|spec| spec.kind == Kind::Control);
        for stage in [control, others] {
            for spec in &stage {
                self.supervise((*spec).clone());
            }
            self.wait_ready(&stage, deadline, args).await?;
        }
        ready::settle(&plan.specs, plan.control_admin).await;
        Ok(())
    }

    fn supervise(&mut self, spec: Spec) {
        let (kind, stop) = (spec.kind, CancellationToken::new());
        let supervisor = supervise::supervise(
            spec.clone(),
            self.context.clone(),
            self.holds.of(&spec),
            stop.clone(),
        );
        self.supervisors
            .push((kind, stop, tokio::spawn(supervisor)));
    }

    async fn wait_ready(
        &mut self,
        stage: &[&Spec],
        deadline: tokio::time::Instant,
        args: &UpArgs,
    ) -> anyhow::Result<()> {
        let board = Arc::clone(&self.context.board);
        let waiting = ready::wait(stage, &board, self.progress);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = &mut waiting => return Ok(()),
                event = self.events.recv() => match event {
                    Some(Event::GaveUp { name, why }) => {
                        let (lines, help) = (last_lines(&board.state(), &name), help(args, &name));
                        bail!("{name} does not start: it {why}\n{lines}{help}");
                    }
                    Some(event) => tell(self.progress, &event),
                    None => bail!("the supervisors are gone"),
                },
                () = tokio::time::sleep_until(deadline) => {
                    let state = board.state();
                    let missing: Vec<_> = stage
                        .iter()
                        .map(|spec| spec.name.as_str())
                        .filter(|name| state.processes.iter().any(|p| p.name == *name && !p.ready))
                        .collect();
                    let lines: Vec<_> =
                        missing.iter().take(3).map(|name| last_lines(&state, name)).collect();
                    let help = missing.first().map(|name| help(args, name)).unwrap_or_default();
                    bail!(
                        "not ready after {:?}: {}\n{}{help}, or give it more time with --ready-timeout",
                        args.ready_timeout, missing.join(", "), lines.concat()
                    );
                }
            }
        }
    }

    /// Reports restarts until somebody asks to stop.
    async fn watch(&mut self, asked: &CancellationToken) {
        loop {
            tokio::select! {
                () = asked.cancelled() => return,
                event = self.events.recv() => match event {
                    Some(event) => tell(self.progress, &event),
                    None => return,
                },
            }
        }
    }

    /// Drains kind by kind and waits until every process has ended.
    async fn drain(mut self) {
        // Supervisors that still report must not wait for a reader.
        self.events.close();
        for kind in [Kind::Edge, Kind::Service, Kind::Sidecar, Kind::Control] {
            let (now, later): (Vec<_>, Vec<_>) = self
                .supervisors
                .into_iter()
                .partition(|(of, _, _)| *of == kind);
            self.supervisors = later;
            for (_, stop, _) in &now {
                stop.cancel();
            }
            for (_, _, supervisor) in now {
                let _ = supervisor.await;
            }
        }
    }
}

fn tell(progress: &Progress, event: &Event) {
    if let Event::Restarts { name, why, pause } = event {
        progress.line(&format!(
            "{name} {why}; starting it again in {:.1} s",
            pause.as_secs_f32()
        ));
    }
}

/// The end of a process's log, for an error.
fn last_lines(state: &State, name: &str) -> String {
    let Some(process) = state.processes.iter().find(|process| process.name == name) else {
        return String::new();
    };
    let lines = logs::tail(&process.log, LOG_LINES);
    let path = process.log.display();
    if lines.is_empty() {
        return format!("  it wrote nothing into {path}\n");
    }
    let paint = Paint::stderr();
    let shown = lines
        .iter()
        .map(|line| format!("  | {}\n", logs::readable(line, paint)));
    format!("  the last lines of {path}:\n{}", shown.collect::<String>())
}

/// The next step after a process that does not start.
fn help(args: &UpArgs, name: &str) -> String {
    let place = args.place.flags();
    format!("  help: `weft logs {name}{place}` shows more; mend it and run `weft up` again")
}
