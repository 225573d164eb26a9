//! The running workloads, each with a lease. Pure: it is told the time and does no I/O.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weft_model::dataplane::{Endpoint, Locality};

/// How long a workload stays known after its last call.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// After a restart sidecars need some time to come back.
pub(crate) const RESTORED_LEASE: Duration = Duration::from_secs(20);
/// A heartbeat that was under way when its workload deregistered arrives within this, or never.
const FAREWELL: Duration = Duration::from_secs(1);
/// More workloads than any machine of this kind runs; the list must not fill the memory.
const MAX_WORKLOADS: usize = 10_000;

/// A workload as it is written to disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) locality: Locality,
    #[serde(default = "one")]
    pub(crate) weight: u32,
}

fn one() -> u32 {
    1
}

impl Workload {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            labels: self.labels.clone(),
            locality: self.locality.clone(),
            weight: self.weight,
            ..Endpoint::new(self.address, self.instance.clone())
        }
    }
}

/// One call of a workload's process, and its place among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The connection it came on.
    pub(crate) from: SocketAddr,
    pub(crate) sequence: u64,
}

impl Asked {
    /// Whether the same process has made `other` after this one, which has arrived late.
    fn is_before(&self, other: &Self) -> bool {
        self.from == other.from && self.sequence < other.sequence
    }
}

#[derive(Clone, Debug)]
struct Lease {
    workload: Workload,
    ends: Instant,
    /// What made it. `None`: the registry of the last run.
    asked: Option<Asked>,
}

/// Why a workload is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the registry is full with {0} workloads")]
    Full(usize),
    #[error("this process has deregistered the workload since it asked")]
    Overtaken,
}

type Key = (String, String);

/// A workload that has deregistered.
#[derive(Clone, Copy, Debug)]
struct Farewell {
    asked: Asked,
    ends: Instant,
}

/// By service and instance.
#[derive(Debug)]
pub(crate) struct Registry {
    leases: BTreeMap<Key, Lease>,
    farewells: BTreeMap<Key, Farewell>,
    capacity: usize,
}

impl Registry {
    /// What was running when the last control plane ended: it counts until proven otherwise.
    pub(crate) fn restore(workloads: Vec<Workload>, now: Instant) -> Self {
        let leases = workloads
            .into_iter()
            .take(MAX_WORKLOADS)
            .map(|workload| {
                let key = (workload.service.clone(), workload.instance.clone());
                let lease = Lease {
                    workload,
                    ends: now + RESTORED_LEASE,
                    asked: None,
                };
                (key, lease)
            })
            .collect();
        Self {
            leases,
            farewells: BTreeMap::new(),
            capacity: MAX_WORKLOADS,
        }
    }

    /// Registers or prolongs. True if endpoints have changed. A call that was overtaken by the farewell of
    /// the same process does not count.
    pub(crate) fn register(
        &mut self,
        workload: Workload,
        asked: Asked,
        now: Instant,
    ) -> Result<bool, Refused> {
        let ends = now + LEASE;
        let address = workload.address;
        let own = (workload.service.clone(), workload.instance.clone());
        if let Some(lease) = self.leases.get_mut(&own)
            && lease.workload == workload
        {
            lease.ends = ends;
            lease.asked = Some(asked);
            return Ok(false);
        }
        if let Some(farewell) = self.farewells.get(&own)
            && asked.is_before(&farewell.asked)
            && now < farewell.ends
        {
            return Err(Refused::Overtaken);
        }
        if self.leases.len() >= self.capacity && !self.leases.contains_key(&own) {
            return Err(Refused::Full(self.capacity));
        }
        // A port belongs to one workload: whoever had it before is gone. Only within the service, for
        // which the caller has proven its identity.
        let is_former =
            |key: &Key, lease: &Lease| key.0 == own.0 && lease.workload.address == address;
        self.leases.retain(|key, lease| !is_former(key, lease));
        let asked = Some(asked);
        let lease = Lease {
            workload,
            ends,
            asked,
        };
        self.leases.insert(own, lease);
        Ok(true)
    }

    /// True if the workload was known, and has not been registered by the same process since it asked.
    pub(crate) fn deregister(
        &mut self,
        service: &str,
        instance: &str,
        asked: Asked,
        now: Instant,
    ) -> bool {
        let key = (service.to_owned(), instance.to_owned());
        let known = self.leases.get(&key).is_some_and(|lease| {
            let since = lease.asked.as_ref();
            !since.is_some_and(|since| asked.is_before(since))
        });
        // Only who was there can come too late, so there are no more of these than of leases.
        if known {
            self.leases.remove(&key);
            let ends = now + FAREWELL;
            self.farewells.insert(key, Farewell { asked, ends });
        }
        known
    }

    /// Forgets the workloads whose leases have ended; returns them.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Workload> {
        self.farewells.retain(|_, farewell| now < farewell.ends);
        let ended: Vec<_> = self
            .leases
            .extract_if(.., |_, lease| lease.ends <= now)
            .collect();
        ended.into_iter().map(|(_, lease)| lease.workload).collect()
    }

    /// Gives every workload `more` time: this process stood still and heard no one.
    pub(crate) fn prolong_all(&mut self, more: Duration) {
        for lease in self.leases.values_mut() {
            lease.ends += more;
        }
    }

    /// Everything, to be written or shown.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let leases = self.leases.values();
        leases.map(|lease| lease.workload.clone()).collect()
    }

    /// The endpoints by service.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, Vec<Endpoint>> {
        let mut endpoints: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
        for ((service, _), lease) in &self.leases {
            let known = endpoints.entry(service.clone()).or_default();
            known.push(lease.workload.endpoint());
        }
        endpoints
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);
    const FIRST: Asked = nth(1);

    const fn nth(sequence: u64) -> Asked {
        let from = PEER;
        Asked { from, sequence }
    }

    fn workload(instance: &str, port: u16) -> Workload {
        Workload {
            service: "orders".to_owned(),
            instance: instance.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            labels: BTreeMap::new(),
            locality: Locality::default(),
            weight: 1,
        }
    }

    #[test]
    fn other_labels_are_news_and_reach_the_endpoint() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![workload("orders-1", 1)], now);
        let mut labelled = workload("orders-1", 1);
        labelled.labels = [("version".to_owned(), "v2".to_owned())].into();
        labelled.weight = 3;
        assert_eq!(registry.register(labelled.clone(), FIRST, now), Ok(true));
        assert_eq!(registry.register(labelled.clone(), FIRST, now), Ok(false));
        let endpoint = &registry.endpoints()["orders"][0];
        assert_eq!((&endpoint.labels, endpoint.weight), (&labelled.labels, 3));
    }

    #[test]
    fn a_registry_file_without_labels_is_read() {
        let old = r#"{"service": "orders", "instance": "orders-1", "address": "127.0.0.1:1"}"#;
        let read: Workload = serde_json::from_str(old).unwrap();
        assert_eq!(read, workload("orders-1", 1));
    }

    #[test]
    fn repeated_registration_changes_nothing_but_the_lease() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![], now);
        assert!(
            registry
                .register(workload("orders-1", 1), FIRST, now)
                .unwrap()
        );
        let later = now + LEASE / 2;
        assert!(
            !registry
                .register(workload("orders-1", 1), FIRST, later)
                .unwrap()
        );
        assert!(registry.expire(now + LEASE).is_empty());
        assert_eq!(registry.expire(later + LEASE).len(), 1);
        assert!(registry.workloads().is_empty());
    }

    #[test]
    fn new_address_replaces_the_old_one_and_its_former_owner() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![], now);
        registry
            .register(workload("orders-1", 1), FIRST, now)
            .unwrap();
        registry
            .register(workload("orders-2", 2), FIRST, now)
            .unwrap();
        assert!(
            registry
                .register(workload("orders-1", 2), FIRST, now)
                .unwrap()
        );
        assert_eq!(registry.workloads(), [workload("orders-1", 2)]);
    }

    #[test]
    fn heartbeat_overtaken_by_its_farewell_does_not_bring_the_workload_back() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![], now);
        let orders = || workload("orders-1", 1);
        registry.register(orders(), nth(1), now).unwrap();
        assert!(registry.deregister("orders", "orders-1", nth(3), now));
        let overtaken = registry.register(orders(), nth(2), now);
        assert_eq!(overtaken, Err(Refused::Overtaken));
        assert!(registry.workloads().is_empty());

        // The next process under this name is another, even at the same address.
        let from = SocketAddr::from(([127, 0, 0, 1], 10));
        let successor = Asked { from, sequence: 1 };
        assert_eq!(registry.register(orders(), successor, now), Ok(true));
        registry.expire(now + FAREWELL);
        assert!(registry.farewells.is_empty());
    }

    #[test]
    fn a_workload_that_serves_again_is_welcome_at_once() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![], now);
        let orders = || workload("orders-1", 1);
        registry.register(orders(), nth(1), now).unwrap();
        registry.deregister("orders", "orders-1", nth(2), now);
        assert_eq!(registry.register(orders(), nth(3), now), Ok(true));
        // Its farewell, repeated because nobody seemed to have heard it, comes too late.
        assert!(!registry.deregister("orders", "orders-1", nth(2), now));
        assert_eq!(registry.workloads(), [orders()]);
    }

    #[test]
    fn restored_workloads_have_time_to_come_back() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![workload("orders-1", 1)], now);
        assert!(registry.expire(now + LEASE).is_empty());
        assert_eq!(registry.expire(now + RESTORED_LEASE).len(), 1);
    }

    #[test]
    fn full_registry_refuses_strangers_only() {
        let now = Instant::now();
        let mut registry = Registry::restore(vec![], now);
        registry.capacity = 2;
        registry
            .register(workload("orders-1", 1), FIRST, now)
            .unwrap();
        registry
            .register(workload("orders-2", 2), FIRST, now)
            .unwrap();
        let stranger = workload("orders-3", 3);
        assert_eq!(
            registry.register(stranger, FIRST, now),
            Err(Refused::Full(2))
        );
        assert_eq!(
            registry.register(workload("orders-1", 1), FIRST, now),
            Ok(false)
        );
    }
}
