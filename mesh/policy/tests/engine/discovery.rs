//! Localities, priorities, health: which endpoints take calls at all.

use std::{collections::BTreeMap, time::Duration};

use weft_model::dataplane::{
    Discovery, DnsName, FailurePercentage, HealthCheck, HealthStatus, Locality, OutlierDetection,
    Snapshot, SuccessRate, Target,
};
use weft_policy::{Engine, Options, Outcome, Pick, Reason, code, outlier::Detector};

use crate::world::{World, endpoint, target, unavailable};

/// How often each endpoint gets one of many calls.
fn counts(world: &mut World, calls: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        let mut call = world.call("Add");
        let attempt = world.picked(&mut call);
        *counts.entry(attempt.endpoint.address.port()).or_insert(0) += 1;
        world.end(&mut call, attempt, &Outcome::Headers);
        world.finish(call, code::OK);
    }
    counts
}

fn zone(zone: &str) -> Locality {
    Locality {
        region: "eu".to_owned(),
        zone: zone.to_owned(),
        sub_zone: String::new(),
    }
}

/// Two endpoints in zone a, two in zone b.
fn zones() -> Target {
    let mut target = target(4);
    for endpoint in &mut target.endpoints {
        let own = if endpoint.address.port() <= 2 {
            "a"
        } else {
            "b"
        };
        endpoint.locality = zone(own);
    }
    target
}

#[test]
fn the_own_zone_is_used_first_and_left_as_far_as_it_is_unhealthy() {
    let mut world = World::new(0);
    world.engine = Engine::new(Options {
        locality: zone("b"),
        process: 7,
    });
    world.configure([zones()]);
    assert!(counts(&mut world, 100).keys().eq(&[3, 4]));
    let mut half = zones();
    half.endpoints[2].health = HealthStatus::Unhealthy;
    world.configure([half.clone()]);
    // Half healthy takes 70 %: Envoy's factor of 1.4.
    let found = counts(&mut world, 2000);
    assert!((1330..1470).contains(&found[&4]), "{found:?}");
    half.endpoints[3].health = HealthStatus::Unhealthy;
    world.configure([half]);
    assert!(counts(&mut world, 100).keys().eq(&[1, 2]));
}

#[test]
fn a_lower_priority_waits_for_the_higher_one_to_fail() {
    let mut ranked = target(3);
    ranked.endpoints[2].priority = 1;
    let mut world = World::with([ranked.clone()]);
    assert!(counts(&mut world, 50).keys().eq(&[1, 2]));
    for endpoint in &mut ranked.endpoints[..2] {
        endpoint.health = HealthStatus::Unhealthy;
    }
    world.configure([ranked]);
    assert!(counts(&mut world, 50).keys().eq(&[3]));
}

#[test]
fn too_few_healthy_endpoints_are_panic() {
    let mut sick = target(4);
    sick.panic_threshold_percent = 50;
    for endpoint in &mut sick.endpoints[..3] {
        endpoint.health = HealthStatus::Unhealthy;
    }
    let mut world = World::with([sick.clone()]);
    assert_eq!(counts(&mut world, 200).len(), 4);
    sick.panic_threshold_percent = 20;
    world.configure([sick]);
    assert!(counts(&mut world, 50).keys().eq(&[4]));
}

#[test]
fn an_endpoint_that_drains_gets_nothing_new_while_there_is_another() {
    let mut leaving = target(2);
    leaving.endpoints[0].health = HealthStatus::Draining;
    let mut world = World::with([leaving.clone()]);
    assert!(counts(&mut world, 50).keys().eq(&[2]));
    leaving.endpoints[1].health = HealthStatus::Draining;
    world.configure([leaving]);
    assert_eq!(counts(&mut world, 50).len(), 2);
}

#[test]
fn accounts_survive_what_is_learnt_about_an_endpoint() {
    let mut world = World::new(2);
    let mut call = world.call("Add");
    let attempt = world.picked(&mut call);
    let mut heavier = target(2);
    heavier
        .endpoints
        .iter_mut()
        .for_each(|endpoint| endpoint.weight = 5);
    world.configure([heavier]);
    let in_flight = |world: &World| {
        let status = world.engine.clusters(world.now).remove(0);
        let open = status.endpoints.iter().map(|endpoint| endpoint.in_flight);
        open.sum::<u32>()
    };
    assert_eq!(in_flight(&world), 1);
    world.end(&mut call, attempt, &Outcome::Headers);
    assert_eq!(in_flight(&world), 0);
}

#[test]
fn resolved_endpoints_stay_when_the_configuration_comes_anew() {
    let mut named = target(0);
    named.discovery = Discovery::Dns(DnsName {
        host: "carts.shop".to_owned(),
        port: 7070,
        refresh: Duration::from_secs(5),
    });
    let mut world = World::with([named.clone()]);
    let names: Vec<_> = world.engine.dns_names().collect();
    assert_eq!(names.len(), 1);
    assert!(!world.engine.has_endpoints("carts:7070"));
    world
        .engine
        .resolved("carts:7070", &[endpoint(1), endpoint(2)]);
    assert_eq!(counts(&mut world, 50).len(), 2);
    named.panic_threshold_percent = 10;
    world.configure([named]);
    assert_eq!(counts(&mut world, 50).len(), 2);
    world.engine.resolved("carts:7070", &[endpoint(2)]);
    assert!(counts(&mut world, 20).keys().eq(&[2]));
}

/// A hundred calls to each endpoint; the third fails a share of them.
fn interval(world: &mut World, failing: f64) {
    let mut n = 0;
    for _ in 0..300 {
        let mut call = world.call("Add");
        let attempt = world.picked(&mut call);
        let is_third = attempt.endpoint.address.port() == 3;
        n += usize::from(is_third);
        let fails = is_third && (n as f64 * failing).fract() < failing;
        let outcome = if fails {
            unavailable()
        } else {
            Outcome::Headers
        };
        world.end(&mut call, attempt, &outcome);
        world.finish(call, if fails { code::UNAVAILABLE } else { code::OK });
    }
    world.pass(10_001);
}

fn judged(percentage: Option<u32>, stdev_factor: Option<u32>) -> Target {
    let mut target = target(3);
    target.outlier_detection = Some(OutlierDetection {
        failure_percentage: percentage.map(|threshold| FailurePercentage {
            threshold,
            minimum_hosts: 3,
            request_volume: 20,
        }),
        success_rate: stdev_factor.map(|stdev_factor_permille| SuccessRate {
            stdev_factor_permille,
            minimum_hosts: 3,
            request_volume: 20,
        }),
        ..OutlierDetection::default()
    });
    target
}

#[test]
fn rates_are_judged_at_the_end_of_an_interval() {
    for (target, failing, by_rate, is_ejected) in [
        (judged(Some(40), None), 0.5, 0, true),
        (judged(Some(60), None), 0.5, 0, false),
        (judged(None, Some(1000)), 0.3, 1, true),
        (judged(None, Some(1900)), 0.3, 1, false),
    ] {
        let mut world = World::with([target]);
        interval(&mut world, failing);
        let found = counts(&mut world, 100);
        assert_eq!(!found.contains_key(&3), is_ejected, "{found:?}");
        let status = world.engine.clusters(world.now).remove(0);
        let ejections = status.ejections.unwrap();
        let detected = [Detector::SuccessRate, Detector::FailurePercentage]
            .map(|detector| ejections.detected(detector));
        assert_eq!(
            detected,
            [by_rate, 1 - by_rate].map(|n| n * u64::from(is_ejected))
        );
        assert_eq!(ejections.enforced_total(), u64::from(is_ejected));
        world.pass(31_000);
        assert_eq!(counts(&mut world, 100).len(), 3);
    }
}

#[test]
fn shed_load_ejects_nobody() {
    let mut world = World::new(2);
    let shed = Outcome::TrailersOnly {
        code: code::UNAVAILABLE,
        pushback: weft_policy::retry::Pushback::parse(Some("100")),
    };
    for _ in 0..40 {
        world.run("Add", |_| shed.clone());
    }
    let status = world.engine.clusters(world.now).remove(0);
    assert!(
        status
            .endpoints
            .iter()
            .all(|endpoint| endpoint.health == "HEALTHY")
    );
}

#[test]
fn calls_that_fail_after_their_headers_are_failures_too() {
    let mut world = World::new(2);
    for _ in 0..40 {
        let mut call = world.call("Add");
        let attempt = world.picked(&mut call);
        let is_sick = attempt.endpoint.address.port() == 1;
        world.end(&mut call, attempt, &Outcome::Headers);
        world.finish(call, if is_sick { code::UNAVAILABLE } else { code::OK });
    }
    assert!(counts(&mut world, 30).keys().eq(&[2]));
}

#[test]
fn probes_find_the_sick_and_the_recovered() {
    let mut checked = target(2);
    checked.outlier_detection = None;
    checked.health_check = Some(HealthCheck {
        service_name: "carts".to_owned(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        unhealthy_threshold: 2,
        healthy_threshold: 1,
    });
    let mut world = World::with([checked]);
    assert_eq!(
        counts(&mut world, 50).len(),
        2,
        "healthy until found otherwise"
    );
    let probe = |world: &mut World, first_is_healthy: bool| {
        let probes = world.engine.probes_due(world.now);
        assert_eq!(probes.len(), 2);
        assert_eq!(&*probes[0].service_name, "carts");
        assert!(world.engine.probes_due(world.now).is_empty());
        for probe in probes {
            let is_healthy = first_is_healthy || probe.endpoint.address.port() == 2;
            world.engine.probed(&probe, is_healthy, world.now);
        }
        let next = world.engine.next_probe_at(world.now).unwrap();
        assert_eq!(next, world.now + Duration::from_secs(5));
        world.now = next;
    };
    probe(&mut world, false);
    assert_eq!(counts(&mut world, 50).len(), 2);
    probe(&mut world, false);
    assert!(counts(&mut world, 50).keys().eq(&[2]));
    probe(&mut world, true);
    assert_eq!(counts(&mut world, 50).len(), 2);
}

#[test]
fn a_target_whose_endpoints_are_all_unhealthy_fails_calls_with_the_reason() {
    let mut sick = target(1);
    sick.endpoints[0].health = HealthStatus::Unhealthy;
    let mut world = World::with([sick]);
    let mut call = world.call("Add");
    let waits = world.engine.pick(&mut call, world.now, &mut world.rng);
    assert!(matches!(waits, Pick::Wait(_)), "{waits:?}");
    world.pass(1000);
    let picked = world.engine.pick(&mut call, world.now, &mut world.rng);
    assert!(matches!(picked, Pick::Fail(failure) if failure.reason == Reason::NoHealthyEndpoint));
    world.engine.update(&Snapshot::default());
}
