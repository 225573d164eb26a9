//! Which endpoints may take calls now, by priority.
//!
//! Endpoints are grouped into levels: by their priority, and within one priority by their distance from
//! this proxy (same sub-zone, zone, region, elsewhere). Calls go to the first level as far as it is
//! healthy, and beyond that to the next: Envoy's priority load with its overprovisioning factor of 1.4,
//! so that a level with 72 % of its endpoints left still takes everything.
//!
//! A level that has too few healthy endpoints (panic threshold) gets calls on all of them, unless levels
//! together are healthy enough. An endpoint that refuses connections is left out even then, for its
//! short backoff. Two rules are ours: ejections are ignored rather than failing calls when nothing else
//! is left, and endpoints that drain take calls when there is nobody else at all.
//!
//! A [`View`] is made once and used for every call until something changes.

use std::time::Instant;

use weft_model::dataplane::Locality;

/// What speaks for or against one endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) index: u32,
    pub(crate) health: Health,
    /// It refused a connection a moment ago.
    pub(crate) is_left_alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Ejected,
    /// By the control plane or by active probes.
    Unhealthy,
    Draining,
}

/// The endpoints to choose from.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// For each level: up to which percentage calls go to it, and the endpoints that may be used.
    pub(crate) levels: Vec<LevelView>,
    /// The state of the cluster it was made from.
    pub(crate) version: u64,
    /// When it changes by itself: an ejection or a backoff ends.
    pub(crate) until: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LevelView {
    pub(crate) up_to: u32,
    /// Ascending.
    pub(crate) usable: Vec<u32>,
    pub(crate) is_in_panic: bool,
}

/// Envoy's overprovisioning factor, in percent.
const OVERPROVISIONING: usize = 140;

impl View {
    /// Makes a view of levels, each with its endpoints' standings in ascending order.
    pub(crate) fn of(levels: &[Vec<Standing>], panic_threshold: u32) -> Vec<LevelView> {
        let healthy = |level: &[Standing]| usable(level, |health| health == Health::Healthy);
        let mut views: Vec<LevelView> = levels
            .iter()
            .map(|level| LevelView {
                usable: healthy(level),
                ..LevelView::default()
            })
            .collect();
        let health: Vec<usize> = levels
            .iter()
            .zip(&views)
            .map(|(level, view)| {
                (OVERPROVISIONING * view.usable.len() / total(level).max(1)).min(100)
            })
            .collect();
        let sum: usize = health.iter().sum();
        if sum < 100 {
            panic(levels, &mut views, panic_threshold as usize);
        }
        if sum > 0 {
            distribute(&mut views, &health, sum.min(100));
            return views;
        }
        if views.iter().all(|view| view.usable.is_empty()) {
            last_resort(levels, &mut views);
        }
        let counts: Vec<usize> = views.iter().map(|view| view.usable.len()).collect();
        distribute(&mut views, &counts, counts.iter().sum());
        views
    }

    /// The level for a call that drew `percent`, 0 to 99.
    pub(crate) fn level(&self, percent: u32) -> Option<usize> {
        self.levels.iter().position(|level| percent < level.up_to)
    }
}

/// Endpoints that drain are not missing: they are being replaced.
fn total(level: &[Standing]) -> usize {
    let counted = level
        .iter()
        .filter(|standing| standing.health != Health::Draining);
    counted.count()
}

fn usable(level: &[Standing], accept: impl Fn(Health) -> bool) -> Vec<u32> {
    let accepted = level
        .iter()
        .filter(|standing| !standing.is_left_alone && accept(standing.health));
    accepted.map(|standing| standing.index).collect()
}

fn panic(levels: &[Vec<Standing>], views: &mut [LevelView], threshold: usize) {
    for (level, view) in levels.iter().zip(views) {
        if view.usable.len() * 100 < threshold * total(level) {
            view.usable = usable(level, |health| health != Health::Draining);
            view.is_in_panic = true;
        }
    }
}

/// Nobody is healthy: the ejected of the first level that has some, else those that drain.
fn last_resort(levels: &[Vec<Standing>], views: &mut [LevelView]) {
    for accepted in [Health::Ejected, Health::Draining] {
        for (level, view) in levels.iter().zip(&mut *views) {
            view.usable = usable(level, |health| health == accepted);
            if !view.usable.is_empty() {
                return;
            }
        }
    }
}

/// Gives each level its share of the calls, in parts of `whole`, until all are given.
fn distribute(views: &mut [LevelView], shares: &[usize], whole: usize) {
    let mut used = 0;
    let mut last = None;
    for (index, (view, share)) in views.iter_mut().zip(shares).enumerate() {
        let given = (share * 100 / whole.max(1)).min(100 - used);
        if given > 0 {
            used += given;
            last = Some(index);
        }
        view.up_to = used as u32;
    }
    // What rounding left over goes to the last level that has a share.
    let Some(last) = last else { return };
    for view in views.iter_mut().skip(last) {
        view.up_to = 100;
    }
}

/// How far an endpoint is: 0 same sub-zone, 1 same zone, 2 same region, 3 elsewhere. What the proxy
/// does not know about itself separates nobody.
pub(crate) fn distance(own: &Locality, other: &Locality) -> u32 {
    let differs = |own: &str, other: &str| !own.is_empty() && own != other;
    if differs(&own.region, &other.region) {
        3
    } else if differs(&own.zone, &other.zone) {
        2
    } else {
        u32::from(differs(&own.sub_zone, &other.sub_zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `h` healthy, `e` ejected, `u` unhealthy, `d` draining, `r` refusing connections.
    fn levels(levels: &[&str]) -> Vec<Vec<Standing>> {
        let mut index = 0;
        let mut standing = |letter| {
            index += 1;
            Standing {
                index: index - 1,
                health: match letter {
                    'e' => Health::Ejected,
                    'u' => Health::Unhealthy,
                    'd' => Health::Draining,
                    _ => Health::Healthy,
                },
                is_left_alone: letter == 'r',
            }
        };
        let level = |letters: &&str| letters.chars().map(&mut standing).collect();
        levels.iter().map(level).collect()
    }

    fn shares(text: &[&str], panic_threshold: u32) -> Vec<(u32, usize)> {
        let mut before = 0;
        let views = View::of(&levels(text), panic_threshold);
        let share = |view: &LevelView| {
            let share = view.up_to - before.min(view.up_to);
            before = view.up_to.max(before);
            (share, view.usable.len())
        };
        views.iter().map(share).collect()
    }

    #[test]
    fn a_level_takes_everything_until_less_than_72_percent_of_it_is_healthy() {
        assert_eq!(shares(&["hhhh", "hh"], 50), [(100, 4), (0, 2)]);
        assert_eq!(shares(&["hhhu", "hh"], 50), [(100, 3), (0, 2)]);
        assert_eq!(shares(&["hhuu", "hh"], 50), [(70, 2), (30, 2)]);
        assert_eq!(shares(&["huuu", "hh"], 50), [(35, 1), (65, 2)]);
        assert_eq!(shares(&["uuuu", "hh"], 50), [(0, 0), (100, 2)]);
    }

    #[test]
    fn too_little_health_in_all_levels_is_scaled_and_may_be_panic() {
        assert_eq!(shares(&["huuu", "huuu"], 0), [(50, 1), (50, 1)]);
        assert_eq!(shares(&["huuu", "huuu"], 50), [(50, 4), (50, 4)]);
        assert_eq!(shares(&["huu"], 50), [(100, 3)]);
        assert_eq!(shares(&["hhuu"], 50), [(100, 2)]);
    }

    #[test]
    fn with_nobody_healthy_panic_uses_all_by_number() {
        assert_eq!(shares(&["uuu", "u"], 50), [(75, 3), (25, 1)]);
        assert_eq!(shares(&["uuu", "u"], 0), [(0, 0), (0, 0)]);
    }

    #[test]
    fn ejected_and_then_draining_endpoints_are_better_than_none() {
        assert_eq!(shares(&["ee", "e"], 0), [(100, 2), (0, 0)]);
        assert_eq!(shares(&["du", "d"], 0), [(100, 1), (0, 0)]);
        assert_eq!(shares(&["dh"], 0), [(100, 1)]);
    }

    #[test]
    fn refused_connections_leave_an_endpoint_out_even_in_panic() {
        assert_eq!(shares(&["ru"], 50), [(100, 1)]);
        assert_eq!(shares(&["rr"], 50), [(0, 0)]);
    }

    #[test]
    fn endpoints_that_drain_do_not_count_as_missing() {
        assert_eq!(shares(&["hddd", "h"], 50), [(100, 1), (0, 1)]);
    }

    #[test]
    fn distance_is_by_what_the_proxy_knows_of_itself() {
        let at = |region: &str, zone: &str, sub_zone: &str| Locality {
            region: region.to_owned(),
            zone: zone.to_owned(),
            sub_zone: sub_zone.to_owned(),
        };
        let own = at("eu", "1a", "r7");
        assert_eq!(distance(&own, &at("eu", "1a", "r7")), 0);
        assert_eq!(distance(&own, &at("eu", "1a", "r8")), 1);
        assert_eq!(distance(&own, &at("eu", "1b", "r7")), 2);
        assert_eq!(distance(&own, &at("us", "1a", "r7")), 3);
        assert_eq!(distance(&own, &Locality::default()), 3);
        assert_eq!(distance(&Locality::default(), &own), 0);
        assert_eq!(distance(&at("eu", "", ""), &own), 0);
    }
}
