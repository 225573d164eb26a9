//! Probes, and names that are resolved here.

use std::time::Duration;

use tonic_health::{ServingStatus, server::HealthReporter, server::HealthService};
use weft_model::dataplane::{Discovery, DnsName, HealthCheck};

use crate::support::{AUTHORITY, Replica, World, eventually, target};

#[tokio::test]
async fn a_replica_that_says_it_does_not_serve_gets_no_calls_until_it_does() {
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    let (sick, well) = (
        Replica::with_health(Some(health)).await,
        Replica::start().await,
    );
    let set = |status| reporter.set_service_status("shop", status);
    set(ServingStatus::NotServing).await;
    let mut shop = target(AUTHORITY, &[&sick, &well]);
    shop.health_check = Some(HealthCheck {
        service_name: "shop".to_owned(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        unhealthy_threshold: 2,
        healthy_threshold: 1,
    });
    let world = World::new([shop]);
    assert!(!avoided(&world, &sick).await, "nobody has been asked yet");
    while !avoided(&world, &sick).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    set(ServingStatus::Serving).await;
    while avoided(&world, &sick).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether twenty calls all go elsewhere.
async fn avoided(world: &World, replica: &Replica) -> bool {
    let before = replica.begun();
    for _ in 0..20 {
        world.call().await.unwrap();
    }
    replica.begun() == before
}

#[tokio::test]
async fn a_name_is_resolved_and_called() {
    let replica = Replica::start().await;
    let mut shop = target(AUTHORITY, &[]);
    shop.discovery = Discovery::Dns(DnsName {
        host: "localhost".to_owned(),
        port: replica.address.port(),
        refresh: Duration::from_millis(50),
    });
    let world = World::new([shop]);
    world.call().await.unwrap();
    assert!(world.channel.has_endpoints(AUTHORITY));
    eventually("it was called", || replica.begun() == 1).await;
}
