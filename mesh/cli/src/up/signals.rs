//! When `weft up` is asked to stop.

use std::io::Read as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT, SIGTERM or SIGHUP (and, with
/// `EXIT_ON_STDIN_CLOSE=1`, when standard input ends); a second one cancels `kill`, too.
///
/// # Errors
///
/// If the system has no signals left to give.
pub fn watch(kill: CancellationToken) -> std::io::Result<CancellationToken> {
    let asked = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let token = asked.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if token.is_cancelled() {
                kill.cancel();
            }
            token.cancel();
        }
    });
    if std::env::var("EXIT_ON_STDIN_CLOSE").is_ok_and(|value| value == "1") {
        let token = asked.clone();
        // A thread of its own: a blocked read on tokio's pool would keep the runtime from ending.
        std::thread::spawn(move || {
            let mut sink = [0; 256];
            while std::io::stdin().read(&mut sink).is_ok_and(|read| read > 0) {}
            token.cancel();
        });
    }
    Ok(asked)
}
