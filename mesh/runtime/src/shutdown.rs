//! When a process is asked to end.

use std::{env, io::Read as _, process, thread};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled when the process shall drain and end: at SIGTERM, at SIGINT and, with
/// `EXIT_ON_STDIN_CLOSE=1` in the environment, when standard input ends because the parent is gone. A
/// second signal ends the process at once, with exit code 130.
///
/// Call it once, inside a tokio runtime.
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    let listening = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    match listening {
        Ok((terminate, interrupt)) => {
            tokio::spawn(watch_signals(terminate, interrupt, token.clone()));
        }
        Err(error) => tracing::error!(%error, "signals cannot be received"),
    }
    if env::var("EXIT_ON_STDIN_CLOSE").is_ok_and(|value| value == "1") {
        watch_stdin(token.clone());
    }
    token
}

async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    loop {
        let name = tokio::select! {
            received = terminate.recv() => received.map(|()| "SIGTERM"),
            received = interrupt.recv() => received.map(|()| "SIGINT"),
        };
        let Some(name) = name else { return };
        if token.is_cancelled() {
            tracing::warn!(signal = name, "ending at once");
            process::exit(130);
        }
        tracing::info!(signal = name, "draining");
        token.cancel();
    }
}

/// Reads on a thread of its own: a blocked read on tokio's pool would keep the runtime from ending.
fn watch_stdin(token: CancellationToken) {
    let watcher = thread::Builder::new()
        .name("stdin".into())
        .stack_size(64 * 1024);
    let started = watcher.spawn(move || {
        let mut sink = [0_u8; 256];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut sink) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // After a signal the process is ending already.
        if !token.is_cancelled() {
            tracing::info!("standard input ended, draining");
            token.cancel();
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "standard input cannot be watched");
    }
}
