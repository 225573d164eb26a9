//! The state of all processes, kept in memory and in `state.json`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::data::{DataFolder, Process, State};

/// Owns the state; every change is written down at once, for `weft status` and for the next start.
#[derive(Debug)]
pub struct Board {
    data: DataFolder,
    state: Mutex<State>,
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
        if !same && let Err(error) = self.data.write_state(&state) {
            eprintln!("warning: {error:#}");
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
