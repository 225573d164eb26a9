//! The state of all processes, kept in memory and in `state.json`.

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use weft_model::Mesh;

use super::plan::{Plan, Spec};
use crate::{
    data::{DataFolder, Process, State},
    system,
};

/// Owns the state; every change is written down at once, for `weft status` and for the next start.
#[derive(Debug)]
pub struct Board {
    data: DataFolder,
    state: Mutex<State>,
    /// The last write failed, which was said.
    is_stale: AtomicBool,
}

impl Board {
    /// Starts with a state and writes it.
    ///
    /// # Errors
    ///
    /// If the data folder cannot be written.
    pub fn new(data: DataFolder, state: State) -> anyhow::Result<Self> {
        data.write_state(&state)?;
        Ok(Self {
            data,
            state: Mutex::new(state),
            is_stale: AtomicBool::new(false),
        })
    }

    /// Changes one process.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Process)) {
        self.change_all(|state| {
            if let Some(process) = state.processes.iter_mut().find(|p| p.name == name) {
                change(process);
            }
        });
    }

    /// Changes anything.
    pub fn change_all(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.clone();
        change(&mut state);
        let same = serde_json::to_value(&before).ok() == serde_json::to_value(&*state).ok();
        if same {
            return;
        }
        let written = self.data.write_state(&state);
        let was_stale = self.is_stale.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written
            && !was_stale
        {
            complain!("warning: {error:#}; `weft status` shows old facts until that is possible");
        }
    }

    /// One process now.
    pub fn process(&self, name: &str) -> Option<Process> {
        self.lock()
            .processes
            .iter()
            .find(|process| process.name == name)
            .cloned()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Each change is complete before the lock is released, also if a later one panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state before anything is started.
///
/// # Errors
///
/// If the mesh file's path cannot be resolved.
pub fn first_state(mesh: &Mesh, plan: &Plan) -> anyhow::Result<State> {
    let pid = std::process::id();
    let mut edge = plan.edge;
    if edge.ip().is_unspecified() {
        edge.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let process = |spec: &Spec| Process {
        name: spec.name.clone(),
        service: spec.service.clone(),
        exe: match spec.program.file_name() {
            Some(name) if !spec.own_program => PathBuf::from(name),
            _ => spec.program.clone(),
        },
        identity: spec.identity.clone(),
        ports: spec.ports.clone(),
        log: spec.log.clone(),
        ..Process::default()
    };
    Ok(State {
        pid,
        start_ticks: system::start_ticks(pid).unwrap_or_default(),
        mesh: std::path::absolute(&mesh.source.name)?,
        ready: false,
        edge,
        control: plan.control_admin,
        processes: plan.specs.iter().map(process).collect(),
    })
}
