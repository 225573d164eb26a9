//! Names that the data plane resolves itself, again and again.

use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

use futures::future::join_all;
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};
use weft_model::dataplane::{DnsName, Endpoint};

/// How long one answer may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// A name that could not be resolved is asked for again this soon.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// More addresses than this are not used.
const MOST_ADDRESSES: usize = 256;

/// Resolves what `names` tells whenever it is due, and tells `resolved`, until nobody tells of `changes`
/// to the names any more. An answer stays in force until the next one: a name service that is away
/// changes nothing.
pub async fn keep<T>(
    mut changes: watch::Receiver<T>,
    names: impl Fn() -> Vec<(String, DnsName)>,
    resolved: impl Fn(&str, Vec<Endpoint>),
) {
    let mut due: HashMap<String, (DnsName, Instant)> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let (wanted, now) = (names(), Instant::now());
        due.retain(|authority, (name, _)| {
            let is_it = |(other, wanted): &(String, DnsName)| other == authority && wanted == name;
            wanted.iter().any(is_it)
        });
        for (authority, name) in wanted {
            due.entry(authority).or_insert((name, now));
        }
        let lookups = due.iter_mut().filter(|(_, (_, at))| *at <= now);
        let lookups = lookups.map(async |(authority, (name, at))| {
            let found = lookup(authority, name).await;
            let wait = match &found {
                Some(_) => name.refresh,
                None => AFTER_FAILURE.min(name.refresh),
            };
            *at = Instant::now() + wait;
            if let Some(endpoints) = found {
                resolved(authority, endpoints);
            }
        });
        join_all(lookups).await;
        let next = due.values().map(|(_, at)| *at).min();
        tokio::select! {
            () = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The endpoints behind a name. `None` if it cannot be resolved, which is logged.
async fn lookup(authority: &str, name: &DnsName) -> Option<Vec<Endpoint>> {
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
