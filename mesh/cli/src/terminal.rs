//! What the terminal can show: how wide it is, whether it has colours.

use std::{
    env,
    io::{IsTerminal, stderr, stdout},
    os::fd::AsFd,
};

/// How many columns a stream's terminal has; `None` where it is none, or does not say.
pub fn columns(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Colours for one stream; none where nobody would see them.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// For standard output.
    pub fn stdout() -> Self {
        Self::on(&stdout())
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self::on(&stderr())
    }

    fn on(stream: &impl IsTerminal) -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self(stream.is_terminal() && wanted && able)
    }

    /// Whether there are colours.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// What to look at first.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What may be overlooked.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// All is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something needs attention.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
