//! Names that the sidecar resolves itself, again and again.

use std::sync::Arc;

use tokio::sync::watch;
use weft_channel::names;
use weft_model::dataplane::{Discovery, DnsName, Snapshot};

use crate::plane::{Command, Plane};

type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// Resolves the names of the configuration and tells the data plane, until nobody sends configurations
/// any more.
pub(crate) async fn keep(snapshots: Snapshots, plane: Arc<Plane>) {
    let current = snapshots.clone();
    let resolved = |authority: &str, endpoints: Vec<_>| {
        let authority = authority.to_owned();
        plane.tell(Command::Ask(Box::new(move |core| {
            core.resolved(&authority, &endpoints);
        })));
    };
    names::keep(snapshots, || wanted(&current), resolved).await;
}

fn wanted(snapshots: &Snapshots) -> Vec<(String, DnsName)> {
    let snapshot = snapshots.borrow();
    let targets = snapshot.iter().flat_map(|snapshot| &snapshot.targets);
    let names = targets.filter_map(|(authority, target)| match &target.discovery {
        Discovery::Dns(name) => Some((authority.clone(), name.clone())),
        Discovery::Endpoints => None,
    });
    names.collect()
}
