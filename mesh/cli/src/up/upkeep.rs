//! Keeps log files bounded.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

/// A log that is larger is moved to `<name>.log.1`: a process has at most twice that.
const MAX_LOG_BYTES: u64 = 10 << 20;
const EVERY: Duration = Duration::from_secs(5);

/// Rotates logs that have grown too large, for ever.
pub async fn rotate_logs(logs: Vec<PathBuf>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let logs = logs.clone();
        let rotated = tokio::task::spawn_blocking(move || {
            for log in &logs {
                if let Err(error) = rotate(log, MAX_LOG_BYTES) {
                    complain!("warning: {} cannot be rotated: {error}", log.display());
                }
            }
        });
        let _ = rotated.await;
    }
}

/// Copies a log away and empties it. Its writer holds it open for appending and goes on at the new
/// end; what it writes between the two steps is lost.
fn rotate(log: &Path, max_bytes: u64) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(file) if file.len() > max_bytes => {
            fs::copy(log, log.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(log)?.set_len(0)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_large_log_is_moved_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("orders-1.log");
        let mut writer = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        writeln!(writer, "old").unwrap();
        rotate(&log, 100).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "old\n");
        rotate(&log, 2).unwrap();
        writeln!(writer, "new").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "new\n");
        assert_eq!(
            fs::read_to_string(folder.path().join("orders-1.log.1")).unwrap(),
            "old\n"
        );
    }
}
