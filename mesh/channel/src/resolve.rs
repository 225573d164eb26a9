//! Names that the data plane resolves itself, again and again.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    net::lookup_host,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};
use weft_model::dataplane::{DnsName, Endpoint};

use crate::Inner;

/// How long one answer may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// A name that could not be resolved is asked for again this soon.
pub const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// More addresses than this are not used.
const MOST_ADDRESSES: usize = 256;

/// Resolves the names of the configuration whenever they are due, as long as the channel lives. An
/// answer stays in force until the next one: a name service that is away changes nothing.
pub(crate) async fn keep(inner: Weak<Inner>) {
    let mut due: HashMap<String, (DnsName, Instant)> = HashMap::new();
    loop {
        let Some(strong) = inner.upgrade() else {
            return;
        };
        let mut updated = strong.updated.subscribe();
        let now = Instant::now();
        let names: Vec<(String, DnsName)> = strong
            .engine
            .lock()
            .dns_names()
            .map(|(authority, name)| (authority.to_owned(), name.clone()))
            .collect();
        due.retain(|authority, (name, _)| {
            names
                .iter()
                .any(|(other, wanted)| other == authority && wanted == name)
        });
        for (authority, name) in names {
            due.entry(authority).or_insert((name, now));
        }
        let lookups = due.iter_mut().filter(|(_, (_, at))| *at <= now);
        let lookups = lookups.map(async |(authority, (name, at))| {
            *at = now + ask(&strong, authority, name).await;
        });
        join_all(lookups).await;
        drop(strong);
        let next = due.values().map(|(_, at)| *at).min();
        tokio::select! {
            () = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = updated.changed() => if changed.is_err() { return },
        }
    }
}

/// Looks one name up; says when to do so again.
async fn ask(inner: &Arc<Inner>, authority: &str, name: &DnsName) -> Duration {
    match lookup(authority, name).await {
        Some(endpoints) => {
            inner.engine.lock().resolved(authority, &endpoints);
            inner.endpoints_changed();
            name.refresh
        }
        None => AFTER_FAILURE.min(name.refresh),
    }
}

/// The endpoints behind a name. `None` if it cannot be resolved, which is logged.
pub async fn lookup(authority: &str, name: &DnsName) -> Option<Vec<Endpoint>> {
    let answer = timeout(LOOKUP_TIMEOUT, lookup_host((name.host.as_str(), name.port))).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match answer {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(MOST_ADDRESSES);
            debug!(authority, addresses = addresses.len(), "name resolved");
            let endpoint = |address: SocketAddr| Endpoint::new(address, address.to_string());
            Some(addresses.into_iter().map(endpoint).collect())
        }
        Err(error) => {
            warn!(authority, host = name.host, %error, "cannot resolve a name");
            None
        }
    }
}
