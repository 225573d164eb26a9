//! The data folder of `weft up`: who owns it, what runs, where logs and databases are.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::system;

/// A data folder.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Names a folder, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The log of a process.
    pub fn log(&self, process: &str) -> PathBuf {
        self.0.join("logs").join(format!("{process}.log"))
    }

    /// All logs.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Token and last configuration of one process.
    pub fn run(&self, process: &str) -> PathBuf {
        self.0.join("run").join(process)
    }

    /// The folder of one service's database.
    pub fn service(&self, service: &str) -> PathBuf {
        self.0.join("services").join(service)
    }

    /// Keys and registry of the control plane.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// While this file is there, `weft up` keeps the service stopped.
    pub fn held(&self, service: &str) -> PathBuf {
        self.0.join("held").join(service)
    }

    /// Creates the folder and its parts, for their owner only.
    ///
    /// # Errors
    ///
    /// If the file system refuses.
    pub fn create(&self) -> anyhow::Result<()> {
        let parts = [
            self.logs(),
            self.control(),
            self.0.join("run"),
            self.0.join("held"),
        ];
        for folder in [&self.0].into_iter().chain(&parts) {
            create_private(folder)?;
        }
        // Databases and keys do not belong into version control.
        let ignore = self.0.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n")
                .with_context(|| format!("cannot write {}", ignore.display()))?;
        }
        Ok(())
    }

    /// Takes the folder for this process, until it ends in whatever way.
    ///
    /// # Errors
    ///
    /// If another `weft up` has it.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.0.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                bail!(
                    "a mesh runs in {0} already (pid {1})\n  help: `weft status --data {0}` shows it, \
                     `weft stop --data {0}` ends it; for a second copy: weft up --data DIR --listen \
                     127.0.0.1:0",
                    self.0.display(),
                    pid.trim()
                );
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock { _file: file })
    }

    /// Reads `state.json`. `None` if nothing ever ran here.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or understood.
    pub fn state(&self) -> anyhow::Result<Option<State>> {
        let path = self.0.join("state.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let state = serde_json::from_str(&text)
            .with_context(|| format!("cannot understand {}", path.display()))?;
        Ok(Some(state))
    }

    /// Replaces `state.json` as a whole.
    ///
    /// # Errors
    ///
    /// If the file system refuses.
    pub fn write_state(&self, state: &State) -> anyhow::Result<()> {
        let path = self.0.join("state.json");
        weft_runtime::ready::write(&path, &serde_json::to_value(state)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Creates a folder and its parents, for their owner only.
///
/// # Errors
///
/// If the file system refuses.
pub fn create_private(folder: &Path) -> anyhow::Result<()> {
    let created = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    created.map_err(|error| {
        let folder = folder.display();
        anyhow!(
            "cannot create {folder}: {error}\n  help: --data DIR keeps everything in another folder"
        )
    })
}

/// Holds the data folder. The operating system releases it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What `weft up` tells `status`, `logs` and `stop`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The process of `weft up`.
    pub pid: u32,
    /// When that process started; with `pid` it names one process for ever.
    pub start_ticks: u64,
    /// The mesh file, absolute.
    pub mesh: PathBuf,
    /// Whether everything has been ready once.
    pub ready: bool,
    /// Where the edge answers.
    pub edge: SocketAddr,
    /// The status API of the control plane.
    pub control: SocketAddr,
    /// In the order they are started.
    pub processes: Vec<Process>,
}

impl State {
    /// Whether the `weft up` that wrote this still runs.
    pub fn is_running(&self) -> bool {
        system::start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// One supervised process.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// `orders-1`, `orders-1-sidecar`, `edge`, `control`.
    pub name: String,
    /// The service it belongs to, if any.
    pub service: Option<String>,
    /// Its program.
    pub exe: PathBuf,
    /// While it runs.
    pub pid: Option<u32>,
    /// When that process started, in clock ticks since boot.
    pub start_ticks: Option<u64>,
    /// When that process started, in seconds since 1970.
    pub started_at: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether it said so when it was last asked.
    pub ready: bool,
    /// Whether `weft stop SERVICE` keeps it stopped.
    pub held: bool,
    /// Its SPIFFE ID, if it has one.
    pub identity: Option<String>,
    /// Its listeners by what they are for: `listen`, `inbound`, `outbound`, `admin`.
    pub ports: std::collections::BTreeMap<String, SocketAddr>,
    /// Its log.
    pub log: PathBuf,
}

impl Process {
    /// Its pid, if it is surely this process that has it now.
    pub fn live_pid(&self) -> Option<u32> {
        let pid = self.pid?;
        let same = system::start_ticks(pid) == self.start_ticks && self.start_ticks.is_some();
        let exe = system::executable(pid);
        let file = |path: &Path| path.file_name().map(std::ffi::OsStr::to_owned);
        // An interpreter or `sh` may stand in for the program: the start time decides, the name
        // only where it is known to be ours.
        let ours = exe.is_some_and(|exe| file(&exe) == file(&self.exe)) || self.exe.is_relative();
        (same && ours).then_some(pid)
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mesh_per_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path().join("data"));
        data.create().unwrap();
        let held = data.lock().unwrap();
        let message = data.lock().unwrap_err().to_string();
        assert!(
            message.contains(&format!("(pid {})", std::process::id())),
            "{message}"
        );
        assert!(
            message.contains("--data DIR --listen 127.0.0.1:0"),
            "{message}"
        );
        drop(held);
        data.lock().unwrap();
    }

    #[test]
    fn a_pid_that_was_given_to_another_process_is_not_ours() {
        let pid = std::process::id();
        let mut process = Process {
            exe: std::env::current_exe().unwrap(),
            pid: Some(pid),
            start_ticks: system::start_ticks(pid),
            ..Process::default()
        };
        assert_eq!(process.live_pid(), Some(pid));
        process.start_ticks = Some(1);
        assert_eq!(process.live_pid(), None);
    }
}
