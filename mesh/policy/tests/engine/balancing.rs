//! Which endpoint gets a call.

use std::{collections::BTreeSet, time::Duration};

use weft_model::dataplane::{LoadBalancing, Target};
use weft_policy::{LoadReport, Outcome, code};

use crate::{
    traffic::Traffic,
    world::{World, target, unavailable},
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn balanced(endpoints: u16, load_balancing: LoadBalancing) -> Target {
    Target {
        load_balancing,
        outlier_detection: None,
        ..target(endpoints)
    }
}

fn ports(world: &mut World, calls: usize, headers: &[(&str, &str)]) -> Vec<u16> {
    let port = |_| {
        let mut call = world.call_with("Add", headers).unwrap();
        let attempt = world.picked(&mut call);
        let port = attempt.endpoint.address.port();
        world.end(&mut call, attempt, &Outcome::Headers);
        world.finish(call, code::OK);
        port
    };
    (0..calls).map(port).collect()
}

#[test]
fn a_slow_replica_of_three_gets_little_at_every_rate() {
    for (per_second, slow) in [(10.0, 100), (100.0, 100), (1000.0, 100), (100.0, 30)] {
        let mut world = World::new(3);
        let mut traffic = Traffic::default();
        let takes = |port| if port == 2 { millis(slow) } else { millis(10) };
        traffic.run(&mut world, Duration::from_secs(60), per_second, takes);
        let share = traffic.share(2);
        assert!(share < 0.15, "{share} at {per_second}/s, {slow} ms");
        assert!(share > 0.0, "it is asked again now and then");
    }
}

#[test]
fn a_replica_that_turns_slow_is_avoided_and_used_again_when_it_recovers() {
    let mut world = World::new(3);
    let mut traffic = Traffic::default();
    let healthy = |_| millis(10);
    traffic.run(&mut world, Duration::from_secs(5), 300.0, healthy);
    assert!(traffic.share(1) > 0.25);
    let slow = |port| if port == 1 { millis(500) } else { millis(10) };
    traffic.run(&mut world, Duration::from_secs(10), 300.0, slow);
    assert!(traffic.share(1) < 0.05);
    traffic.run(&mut world, Duration::from_secs(60), 300.0, healthy);
    traffic.counts.clear();
    traffic.run(&mut world, Duration::from_secs(5), 300.0, healthy);
    let share = traffic.share(1);
    assert!(share > 0.25, "{share}");
}

#[test]
fn a_new_endpoint_is_used_within_a_second_and_not_stormed() {
    for per_second in [20.0, 1000.0] {
        let mut world = World::new(2);
        let mut traffic = Traffic::default();
        // The first answer takes longer: the connection has to be made.
        traffic.run(&mut world, Duration::from_secs(20), per_second, |_| {
            millis(10)
        });
        world.set(3);
        traffic.counts.clear();
        traffic.run(
            &mut world,
            Duration::from_secs(1),
            per_second,
            |port| match port {
                3 => millis(15),
                _ => millis(10),
            },
        );
        let share = traffic.share(3);
        assert!((0.1..0.5).contains(&share), "{share} at {per_second}/s");
        traffic.run(&mut world, Duration::from_secs(20), per_second, |_| {
            millis(10)
        });
        let share = traffic.share(3);
        assert!((0.25..0.42).contains(&share), "{share} at {per_second}/s");
    }
}

#[test]
fn round_robin_takes_turns_also_among_those_that_are_left() {
    let mut world = World::with([balanced(3, LoadBalancing::RoundRobin)]);
    let turns = ports(&mut world, 30, &[]);
    for port in 1..=3 {
        assert_eq!(turns.iter().filter(|&&turn| turn == port).count(), 10);
    }
    world.configure([balanced(2, LoadBalancing::RoundRobin)]);
    let turns = ports(&mut world, 30, &[]);
    assert_eq!(turns.iter().filter(|&&turn| turn == 1).count(), 15);
}

#[test]
fn reported_load_decides_after_the_blackout_and_weights_before() {
    let policy = LoadBalancing::WeightedRoundRobin {
        blackout_period: Duration::from_secs(10),
        expiration_period: Duration::from_secs(180),
        error_utilization_penalty_permille: 1000,
    };
    let mut weighted = balanced(2, policy);
    weighted.endpoints[1].weight = 3;
    let mut world = World::with([weighted]);
    let second = |world: &mut World, expected: f64| {
        let mut taken = 0;
        for _ in 0..400 {
            let mut call = world.call("Add");
            let attempt = world.picked(&mut call);
            let port = attempt.endpoint.address.port();
            taken += u32::from(port == 2);
            // The second is twice as busy with the same calls.
            let report = LoadReport {
                utilization: 0.25 * f64::from(port),
                rps: 100.0,
                eps: 0.0,
            };
            world.engine.load_report(&attempt, report, world.now);
            world.end(&mut call, attempt, &Outcome::Headers);
            world.finish(call, code::OK);
            world.pass(10);
        }
        let share = f64::from(taken) / 400.0;
        assert!((share - expected).abs() < 0.04, "{share}, not {expected}");
    };
    second(&mut world, 0.75);
    world.pass(10_000);
    second(&mut world, 1.0 / 3.0);
    world.pass(200_000);
    second(&mut world, 0.75);
}

#[test]
fn a_header_value_stays_with_its_endpoint_until_that_is_ejected() {
    let ring = LoadBalancing::RingHash {
        header: "x-user".to_owned(),
        minimum_ring_size: 1024,
        maximum_ring_size: 8192,
    };
    let mut hashed = target(4);
    hashed.load_balancing = ring;
    let mut world = World::with([hashed]);
    let first = ports(&mut world, 1, &[("x-user", "7")])[0];
    assert_eq!(ports(&mut world, 20, &[("x-user", "7")]), [first; 20]);
    let users: BTreeSet<u16> = (0..100)
        .flat_map(|user| ports(&mut world, 1, &[("x-user", &user.to_string())]))
        .collect();
    assert_eq!(users.len(), 4);
    let anywhere: BTreeSet<u16> = ports(&mut world, 50, &[]).into_iter().collect();
    assert_eq!(anywhere.len(), 4);

    for _ in 0..3 {
        let mut call = world.call_with("Add", &[("x-user", "7")]).unwrap();
        let attempt = world.picked(&mut call);
        world.end(&mut call, attempt, &unavailable());
        world.finish(call, code::UNAVAILABLE);
    }
    let other = ports(&mut world, 1, &[("x-user", "7")])[0];
    assert_ne!(other, first);
    assert_eq!(ports(&mut world, 20, &[("x-user", "7")]), [other; 20]);
    world.pass(31_000);
    assert_eq!(ports(&mut world, 20, &[("x-user", "7")]), [first; 20]);
}

#[test]
fn pick_first_stays_until_its_endpoint_fails() {
    let mut sticky = target(3);
    sticky.load_balancing = LoadBalancing::PickFirst;
    let mut world = World::with([sticky]);
    let first = ports(&mut world, 1, &[])[0];
    assert_eq!(ports(&mut world, 20, &[]), [first; 20]);
    let (call, failure) = world.run("Add", |endpoint| match endpoint.address.port() {
        port if port == first => Outcome::ConnectFailed("refused".to_owned()),
        _ => Outcome::Headers,
    });
    assert!(failure.is_none());
    assert_ne!(call.record.address().unwrap().port(), first);
    let second = ports(&mut world, 1, &[])[0];
    assert_ne!(second, first);
    assert_eq!(ports(&mut world, 20, &[]), [second; 20]);
}
