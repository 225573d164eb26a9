//! Services that `weft stop SERVICE` keeps stopped.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::watch, time::sleep};

use super::plan::Spec;
use crate::data::DataFolder;

const POLL: Duration = Duration::from_millis(100);

/// Which services are held, for their supervisors.
#[derive(Debug)]
pub struct Holds {
    services: BTreeMap<String, watch::Sender<bool>>,
    nobody: watch::Sender<bool>,
}

impl Holds {
    /// Starts with every service free, whatever an earlier run left.
    ///
    /// # Errors
    ///
    /// If what an earlier run left cannot be removed.
    pub fn new<'s>(
        data: &DataFolder,
        services: impl Iterator<Item = &'s String>,
    ) -> anyhow::Result<Self> {
        let mut senders = BTreeMap::new();
        for service in services {
            let file = data.held(service);
            if file.exists() {
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
            senders.insert(service.clone(), watch::Sender::new(false));
        }
        Ok(Self {
            services: senders,
            nobody: watch::Sender::new(false),
        })
    }

    /// Whether a process is held, now and later.
    pub fn of(&self, spec: &Spec) -> watch::Receiver<bool> {
        let service = spec
            .service
            .as_ref()
            .and_then(|service| self.services.get(service));
        service.unwrap_or(&self.nobody).subscribe()
    }
}

/// Follows the files that `weft stop` and `weft start` create and remove, for ever.
pub async fn watch(data: DataFolder, holds: Arc<Holds>) {
    loop {
        for (service, sender) in &holds.services {
            let held = data.held(service).exists();
            sender.send_if_modified(|before| std::mem::replace(before, held) != held);
        }
        sleep(POLL).await;
    }
}
