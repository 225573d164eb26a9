//! The mesh file, read again when it changes. A broken one is refused and the old one stays.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::bail;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weft_model::{Mesh, Problems};

use crate::metrics::Metrics;

const POLL: Duration = Duration::from_millis(500);
/// The copy of what is in use, for a start while the file is broken. Mode 0600: a mesh file may hold the
/// password of a database.
const LAST_GOOD: &str = "mesh.last-good.yaml";

/// The mesh in use, and how the file is now.
#[derive(Debug)]
pub(crate) struct MeshFile {
    path: PathBuf,
    last_good: PathBuf,
    text: String,
    seen: Option<Stamp>,
    mesh: watch::Sender<Arc<Mesh>>,
    state: watch::Sender<FileState>,
    metrics: Metrics,
}

/// For the status page.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) path: PathBuf,
    pub(crate) loaded_at: SystemTime,
    /// Empty if the file is in use as it is.
    pub(crate) problems: Vec<Value>,
}

impl MeshFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// If it is broken and there is no last good copy in `state_dir`.
    pub(crate) fn open(path: &Path, state_dir: &Path, metrics: Metrics) -> anyhow::Result<Self> {
        let last_good = state_dir.join(LAST_GOOD);
        // Before reading: what changes while it is read is read again.
        let seen = stamp(path);
        let (text, mesh, problems) = match read(path) {
            Ok((text, mesh)) => (text, mesh, Vec::new()),
            Err(problems) => {
                let name = path.display().to_string();
                let copy = fs::read_to_string(&last_good).ok();
                let Some((text, mesh)) = copy.and_then(|text| {
                    let mesh = Mesh::parse_checked(&text, &name, contracts::pool()).ok()?;
                    Some((text, mesh))
                }) else {
                    bail!(
                        "the mesh file is broken, and {} holds no good copy to go on with\n{problems}",
                        last_good.display()
                    );
                };
                tracing::error!(file = %path.display(), %problems, "mesh file refused, starting with the last good one");
                (text, mesh, listed(&problems))
            }
        };
        metrics.mesh_file_problems.set(count(&problems));
        let file = Self {
            path: path.to_owned(),
            last_good,
            text,
            seen,
            mesh: watch::Sender::new(Arc::new(mesh)),
            state: watch::Sender::new(FileState {
                path: path.to_owned(),
                loaded_at: SystemTime::now(),
                problems,
            }),
            metrics,
        };
        file.keep_copy();
        Ok(file)
    }

    /// The mesh in use.
    pub(crate) fn mesh(&self) -> watch::Receiver<Arc<Mesh>> {
        self.mesh.subscribe()
    }

    /// How the file is.
    pub(crate) fn state(&self) -> watch::Receiver<FileState> {
        self.state.subscribe()
    }

    /// Looks at the file twice a second until `shutdown`.
    pub(crate) async fn watch(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let now = stamp(&self.path);
            if now != self.seen {
                self.seen = now;
                self.reload();
            }
        }
    }

    fn reload(&mut self) {
        match read(&self.path) {
            Ok((text, mesh)) => match self.moved_identity(&mesh) {
                Some(problem) => self.refuse(
                    &problem,
                    vec![serde_json::json!({
                        "code": "identity-changed", "message": problem,
                    })],
                ),
                None => self.take(text, mesh),
            },
            Err(problems) => self.refuse(&problems.to_string(), listed(&problems)),
        }
    }

    fn take(&mut self, text: String, mesh: Mesh) {
        self.metrics.mesh_file_problems.set(0);
        self.state.send_modify(|state| {
            state.problems.clear();
            state.loaded_at = SystemTime::now();
        });
        if text == self.text {
            return;
        }
        self.text = text;
        self.keep_copy();
        self.mesh.send_replace(Arc::new(mesh));
        tracing::info!(file = %self.path.display(), "mesh file loaded");
    }

    fn refuse(&self, shown: &str, problems: Vec<Value>) {
        tracing::error!(file = %self.path.display(), problems = shown, "mesh file refused, the old one stays in use");
        self.metrics.mesh_file_problems.set(count(&problems));
        self.state.send_modify(|state| state.problems = problems);
    }

    /// Every certificate says trust domain and namespace, so they cannot change under running workloads.
    fn moved_identity(&self, new: &Mesh) -> Option<String> {
        let old = self.mesh.borrow();
        let same = old.trust_domain == new.trust_domain && old.namespace == new.namespace;
        (!same).then(|| {
            format!(
                "the mesh is now trust domain `{}`, namespace `{}`, but runs as `{}`, `{}`; stop it to change them",
                new.trust_domain, new.namespace, old.trust_domain, old.namespace
            )
        })
    }

    fn keep_copy(&self) {
        if let Err(error) = weft_identity::write_private(&self.last_good, self.text.as_bytes()) {
            tracing::warn!(%error, file = %self.last_good.display(), "last good mesh file not kept");
        }
    }
}

fn read(path: &Path) -> Result<(String, Mesh), Problems> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let name = path.display().to_string();
            let mesh = Mesh::parse_checked(&text, &name, contracts::pool())?;
            Ok((text, mesh))
        }
        // The model says in its own words what is wrong with a file that cannot be read.
        Err(_) => {
            let mesh = Mesh::checked(path, contracts::pool())?;
            Ok((fs::read_to_string(path).unwrap_or_default(), mesh))
        }
    }
}

fn listed(problems: &Problems) -> Vec<Value> {
    match problems.to_json()["problems"].take() {
        Value::Array(list) => list,
        other => vec![other],
    }
}

fn count(problems: &[Value]) -> i64 {
    i64::try_from(problems.len()).unwrap_or(i64::MAX)
}

/// Time, size and, because editors replace files, the inode.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
