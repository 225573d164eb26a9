//! What proxies do besides calls: health checks, resolving names. And who is ejected meanwhile.

use super::*;
use crate::words::{Reply, show_time};

impl World<'_> {
    /// Begins what a proxy does again and again.
    pub(super) fn begin_watching(&mut self, proxy: usize) {
        let engine = &self.proxies[proxy].engine;
        let names: Vec<_> = engine
            .dns_names()
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in names {
            self.resolve(proxy, name);
        }
    }

    /// Wakes the proxy when its next health checks are due.
    pub(super) fn plan_probes(&mut self, proxy: usize) {
        let now = self.instant();
        let Some(next) = self.proxies[proxy].engine.next_probe_at(now) else {
            return;
        };
        let next = self.since_base(next).max(self.now);
        let planned = &mut self.proxies[proxy].probes_at;
        if planned.is_none_or(|planned| planned > next) {
            *planned = Some(next);
            self.at(next, Event::Probe(proxy));
        }
    }

    pub(super) fn probe(&mut self, proxy: usize) {
        if self.proxies[proxy].probes_at != Some(self.now) {
            return;
        }
        self.proxies[proxy].probes_at = None;
        let now = self.instant();
        for probe in self.proxies[proxy].engine.probes_due(now) {
            let Some(index) = self.by_address.get(&probe.endpoint.address) else {
                continue;
            };
            let behaviour = &self.workloads[*index].behaviour;
            let (is_healthy, wait) = match self.present_reply(*index) {
                Reply::Never => (false, probe.timeout),
                Reply::Refuses | Reply::Unreached => (false, Duration::ZERO),
                _ => match behaviour.is_serving {
                    Some(is_serving) => (is_serving, Duration::ZERO),
                    None => (false, probe.timeout),
                },
            };
            let asked = Box::new(Asked(probe, is_healthy));
            self.after(wait, Event::Probed(proxy, asked));
        }
        self.plan_probes(proxy);
    }

    pub(super) fn probed(&mut self, proxy: usize, Asked(probe, is_healthy): &Asked) {
        let now = self.instant();
        self.proxies[proxy].engine.probed(probe, *is_healthy, now);
        self.plan_probes(proxy);
    }

    pub(super) fn resolve(&mut self, proxy: usize, authority: String) {
        let Some(target) = self.suite.targets.get(&authority) else {
            return;
        };
        let Discovery::Dns(name) = &target.discovery else {
            return;
        };
        let found = self.endpoints_of(&target.service);
        self.proxies[proxy].engine.resolved(&authority, &found);
        self.after(name.refresh, Event::Resolve(proxy, authority));
        self.configuration_changed(proxy);
    }

    /// Notes who is ejected by a proxy now, as far as somebody wants to know.
    pub(super) fn watch_ejections(&mut self, proxy: usize) {
        if !self.watches_ejections {
            return;
        }
        let now = self.now;
        let clusters = self.proxies[proxy].engine.clusters(self.base + now);
        for endpoint in clusters.into_iter().flat_map(|cluster| cluster.endpoints) {
            let Some(millis) = endpoint.ejected_for_millis else {
                continue;
            };
            let until = now + Duration::from_millis(millis);
            let name = endpoint.instance;
            let ejections = self.story.ejections.entry(name.clone()).or_default();
            match ejections.last_mut() {
                Some((_, last)) if *last >= now => *last = until,
                _ => {
                    ejections.push((now, until));
                    if self.is_told {
                        self.story.lines.push(Line {
                            at: now,
                            call: None,
                            text: format!("{name} is ejected until {}", show_time(until)),
                        });
                    }
                }
            }
        }
    }
}
