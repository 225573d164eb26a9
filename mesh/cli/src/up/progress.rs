//! What `weft up` tells while it works: one updating line on a terminal, plain lines otherwise.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::Mutex,
    time::{Duration, Instant},
};

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
            let width = std::env::var("COLUMNS")
                .ok()
                .and_then(|width| width.parse().ok());
            let short: String = line.chars().take(width.unwrap_or(100_usize) - 1).collect();
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
        let mut shown = self.state();
        let clear = if self.terminal && !shown.line.is_empty() {
            "\r\x1b[2K"
        } else {
            ""
        };
        let _ = writeln!(stderr(), "{clear}{line}");
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
