//! What `weft up` tells while it works: one updating line on a terminal, plain lines otherwise.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::terminal;

/// How often plain output repeats what it is waiting for.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Writes progress to standard error.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    state: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    line: String,
    at: Option<Instant>,
}

impl Progress {
    /// Looks whether standard error is a terminal.
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            state: Mutex::default(),
        }
    }

    /// Replaces the updating line.
    pub fn update(&self, line: &str) {
        let mut shown = self.state();
        if shown.line == line {
            return;
        }
        if self.terminal {
            // A line that wraps could not be taken back.
            let width = terminal::columns(&stderr()).unwrap_or(80);
            let short: String = line.chars().take(width - 1).collect();
            let _ = write!(stderr(), "\r\x1b[2K{short}");
            let _ = stderr().flush();
        } else if shown.at.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            let _ = writeln!(stderr(), "{line}");
            shown.at = Some(Instant::now());
        }
        line.clone_into(&mut shown.line);
    }

    /// Writes a line that stays.
    pub fn line(&self, line: &str) {
        self.clear();
        let _ = writeln!(stderr(), "{line}");
    }

    /// Takes the updating line away.
    pub fn clear(&self) {
        let mut shown = self.state();
        if self.terminal && !shown.line.is_empty() {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
        shown.line.clear();
        shown.at = None;
    }

    /// A panic elsewhere leaves nothing half done here: the line is only text.
    fn state(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
