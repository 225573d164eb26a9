//! How long answers of a method usually take.

use std::sync::Arc;

use foldhash::HashMap;

/// How many methods have a pace of their own. Further ones share the first.
const MOST_METHODS: usize = 256;

/// The paces of all methods of a workload.
#[derive(Debug)]
pub(super) struct Paces {
    methods: HashMap<Arc<str>, usize>,
    paces: Vec<Pace>,
}

/// One method's pace, and what this window adds to it.
#[derive(Clone, Debug, Default)]
struct Pace {
    /// Seconds. `None`: nothing is known yet.
    usual: Option<f64>,
    sum: f64,
    count: u32,
}

/// How far the latencies of a window are believed of methods of which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// They were measured without a queue: the more there are the further they are believed.
    Full,
    /// They may still have queued: they are believed as far as they are lower.
    Downwards,
    /// There was room: what changed is the method.
    Some,
    /// Many calls were under way.
    None,
}

impl Default for Paces {
    fn default() -> Self {
        Self {
            methods: HashMap::default(),
            // The place of methods beyond the bound.
            paces: vec![Pace::default()],
        }
    }
}

impl Paces {
    pub(super) fn method(&mut self, path: &str) -> usize {
        if let Some(&method) = self.methods.get(path) {
            return method;
        }
        if self.paces.len() >= MOST_METHODS {
            return 0;
        }
        let method = self.paces.len();
        self.paces.push(Pace::default());
        self.methods.insert(path.into(), method);
        method
    }

    /// Takes a latency in seconds; returns it as a multiple of the usual one.
    pub(super) fn observe(&mut self, method: usize, latency: f64) -> f64 {
        let Some(pace) = self.paces.get_mut(method) else {
            return 1.0;
        };
        pace.sum += latency;
        pace.count += 1;
        pace.usual.map_or(1.0, |usual| latency / usual.max(1e-6))
    }

    /// Moves every pace towards what the window showed.
    pub(super) fn window_ended(&mut self, trust: Trust) {
        for pace in self.paces.iter_mut().filter(|pace| pace.count > 0) {
            let mean = pace.sum / f64::from(pace.count);
            pace.usual = Some(match pace.usual {
                None => mean,
                Some(usual) => {
                    let count = f64::from(pace.count);
                    let step = match trust {
                        Trust::Downwards if mean > usual => 0.0,
                        Trust::Full | Trust::Downwards => count / (count + 3.0),
                        Trust::Some => 0.1,
                        Trust::None => 0.0,
                    };
                    usual + step * (mean - usual)
                }
            });
            (pace.sum, pace.count) = (0.0, 0);
        }
    }

    /// Takes back what was observed in this window.
    pub(super) fn forget_window(&mut self) {
        for pace in &mut self.paces {
            (pace.sum, pace.count) = (0.0, 0);
        }
    }

    /// The mean of all paces that are known.
    pub(super) fn usual(&self) -> Option<f64> {
        let known = || self.paces.iter().filter_map(|pace| pace.usual);
        let count = known().count();
        (count > 0).then(|| known().sum::<f64>() / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(paces: &mut Paces, latency: f64, trust: Trust) {
        let method = paces.method("/a.B/C");
        paces.observe(method, latency);
        paces.window_ended(trust);
    }

    #[test]
    fn what_was_measured_without_a_queue_is_believed_most() {
        let mut paces = Paces::default();
        window(&mut paces, 1.0, Trust::None);
        assert_eq!(paces.usual(), Some(1.0), "something is better than nothing");
        window(&mut paces, 5.0, Trust::None);
        window(&mut paces, 5.0, Trust::Downwards);
        assert_eq!(paces.usual(), Some(1.0));
        window(&mut paces, 2.0, Trust::Some);
        assert_eq!(paces.usual(), Some(1.1));
        window(&mut paces, 0.1, Trust::Downwards);
        assert!(paces.usual() < Some(0.86));
        for _ in 0..20 {
            let method = paces.method("/a.B/C");
            assert!(paces.observe(method, 8.0) > 9.0);
        }
        paces.window_ended(Trust::Full);
        assert!(paces.usual() > Some(7.0));
    }

    #[test]
    fn methods_beyond_the_bound_share_a_pace() {
        let mut paces = Paces::default();
        for n in 0..3 * MOST_METHODS {
            paces.method(&format!("/a.B/{n}"));
        }
        assert_eq!(paces.paces.len(), MOST_METHODS);
        assert_eq!(paces.method("/a.B/700"), 0);
        assert_eq!(paces.method("/a.B/3"), 4);
    }
}
