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
        self.at(self.now, Event::Probe(proxy));
        for name in names {
            self.resolve(proxy, name);
        }
    }

    pub(super) fn probe(&mut self, proxy: usize) {
        let now = self.instant();
        let engine = &mut self.proxies[proxy].engine;
        let probes = engine.probes_due(now);
        let next = engine.next_probe_at(now);
        for probe in probes {
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
            self.after(
                wait,
                Event::Probed(proxy, Box::new(Asked(probe, is_healthy))),
            );
        }
        if let Some(at) = next
            .map(|at| self.since_base(at))
            .filter(|at| *at > self.now)
        {
            self.at(at, Event::Probe(proxy));
        }
    }

    pub(super) fn probed(&mut self, proxy: usize, Asked(probe, is_healthy): &Asked) {
        let now = self.instant();
        let engine = &mut self.proxies[proxy].engine;
        engine.probed(probe, *is_healthy, now);
        if let Some(at) = engine.next_probe_at(now) {
            self.at(self.since_base(at), Event::Probe(proxy));
        }
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
                            call: self.calls.len().saturating_sub(1),
                            text: format!("{name} is ejected until {}", show_time(until)),
                        });
                    }
                }
            }
        }
    }
}
