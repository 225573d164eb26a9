//! Names that the sidecar resolves itself, again and again.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use weft_channel::names::{AFTER_FAILURE, lookup};
use weft_model::dataplane::{Discovery, DnsName, Snapshot};

use crate::plane::{Command, Plane};

/// Resolves the names of the configuration whenever they are due, until nobody sends configurations any
/// more. An answer stays in force until the next one: a name service that is away changes nothing.
pub(crate) async fn keep(mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>, plane: Arc<Plane>) {
    let mut due: HashMap<String, (DnsName, Instant)> = HashMap::new();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let names = snapshot.iter().flat_map(|snapshot| &snapshot.targets);
        let names: HashMap<&String, &DnsName> = names
            .filter_map(|(authority, target)| match &target.discovery {
                Discovery::Dns(name) => Some((authority, name)),
                Discovery::Endpoints => None,
            })
            .collect();
        due.retain(|authority, (name, _)| {
            names.get(authority).is_some_and(|wanted| *wanted == name)
        });
        for (authority, name) in names {
            let entry = || (name.clone(), Instant::now());
            due.entry(authority.clone()).or_insert_with(entry);
        }
        for (authority, (name, at)) in &mut due {
            if *at <= Instant::now() {
                let found = lookup(authority, name).await;
                let wait = match &found {
                    Some(_) => name.refresh,
                    None => AFTER_FAILURE.min(name.refresh),
                };
                *at = Instant::now() + wait;
                if let Some(endpoints) = found {
                    let authority = authority.clone();
                    plane.tell(Command::Ask(Box::new(move |core| {
                        core.resolved(&authority, &endpoints);
                    })));
                }
            }
        }
        let next = due.values().map(|(_, at)| *at).min();
        tokio::select! {
            () = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}
