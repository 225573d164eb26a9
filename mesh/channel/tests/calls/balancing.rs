//! Endpoints are chosen by what they say of themselves.

use std::time::{Duration, Instant};

use weft_model::dataplane::LoadBalancing;

use crate::support::{AUTHORITY, Replica, World, target};

#[tokio::test]
async fn load_reports_shift_calls_to_who_has_room() {
    let (busy, idle) = (Replica::start().await, Replica::start().await);
    let report = |replica: &Replica, load| *replica.state.load.lock().unwrap() = Some(load);
    report(&busy, "TEXT application_utilization=0.9,rps_fractional=100");
    report(&idle, "TEXT application_utilization=0.1,rps_fractional=100");
    let mut shop = target(AUTHORITY, &[&busy, &idle]);
    shop.load_balancing = LoadBalancing::WeightedRoundRobin {
        blackout_period: Duration::ZERO,
        expiration_period: Duration::from_secs(60),
        error_utilization_penalty_permille: 1000,
    };
    let world = World::new([shop]);
    // Weights follow the reports once a second.
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let before = busy.begun();
        for _ in 0..100 {
            world.call().await.unwrap();
        }
        // One in ten is its share, once both have reported.
        let share = busy.begun() - before;
        if (1..=20).contains(&share) {
            break;
        }
        assert!(Instant::now() < end, "still {share} of 100");
    }
}
