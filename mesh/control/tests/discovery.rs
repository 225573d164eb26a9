//! Workloads come and go, and everybody learns it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Control, LONG, deregister, mesh, ports, register, register_as, sidecar};
use contracts::weft::registry::v1::{Locality, RegisterRequest};
use tonic::Code;
use tonic_types::StatusExt;
use weft_identity::{Expected, bootstrap_client_config, channel};
use weft_model::dataplane::TlsMode;
use weft_xds::client::AdsOptions;

const CATALOGUE: &str = "catalogue:7070";

#[tokio::test]
async fn endpoint_is_known_to_all_at_once_and_gone_when_deregistered() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    let orders = control.enrol("orders").await;
    let edge = control.enrol("edge").await;
    let mut at_orders = control.ads(&orders, sidecar("orders", "orders-1"));
    let mut at_edge = control.ads(
        &edge,
        AdsOptions {
            node_id: "edge".into(),
            ..Default::default()
        },
    );
    let first = at_orders.wait(|_| true).await;
    assert_eq!(first.targets.len(), 3);
    assert_eq!(first.inbound.as_ref().unwrap().service, "orders");
    assert!(at_edge.wait(|_| true).await.inbound.is_none());

    let channel = control.channel(&catalogue);
    let started = Instant::now();
    let lease = register(
        channel.clone(),
        "catalogue",
        "catalogue-1",
        "127.0.0.1:4001",
    )
    .await;
    assert_eq!(lease.unwrap(), Duration::from_secs(5));
    at_orders.wait(|now| ports(now, CATALOGUE) == [4001]).await;
    at_edge.wait(|now| ports(now, CATALOGUE) == [4001]).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );

    deregister(channel, "catalogue", "catalogue-1")
        .await
        .unwrap();
    at_orders.wait(|now| ports(now, CATALOGUE).is_empty()).await;
    control.stop().await;
}

#[tokio::test]
async fn a_workload_says_what_it_is_and_the_mesh_file_the_rest() {
    let mut control = Control::start().await;
    let settings = "    labels: { version: v1, tier: backend }\n    locality: { region: eu }\n    \
                    subsets: { v2: { version: v2 } }\n";
    let catalogue_serves = "    serves: [sockshop.catalogue.v1.CatalogueService]\n";
    let orders_serves = "    serves: [sockshop.orders.v1.OrderService]\n";
    let listed = "    endpoints: [{ address: '10.0.0.9:15006', weight: 2 }]\n";
    let text = mesh()
        .replace(catalogue_serves, &format!("{settings}{catalogue_serves}"))
        .replace(orders_serves, &format!("{listed}{orders_serves}"));
    std::fs::write(control.mesh_file(), text).unwrap();
    let catalogue = control.enrol("catalogue").await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    let channel = control.channel(&catalogue);
    register(
        channel.clone(),
        "catalogue",
        "catalogue-1",
        "127.0.0.1:4001",
    )
    .await
    .unwrap();
    let second = RegisterRequest {
        service: "catalogue".to_owned(),
        instance: "catalogue-2".to_owned(),
        address: "127.0.0.1:4002".to_owned(),
        labels: [("version".to_owned(), "v2".to_owned())].into(),
        locality: Some(Locality {
            region: "us".to_owned(),
            zone: "us-1".to_owned(),
            sub_zone: String::new(),
        }),
        weight: 7,
        ..RegisterRequest::default()
    };
    register_as(channel.clone(), second.clone()).await.unwrap();

    let snapshot = ads
        .wait(|now| {
            let target = &now.targets[CATALOGUE];
            target.endpoints.len() == 2 && !target.subsets.is_empty()
        })
        .await;
    let target = &snapshot.targets[CATALOGUE];
    assert_eq!(target.subsets["v2"]["version"], "v2");
    let known: Vec<_> = target
        .endpoints
        .iter()
        .map(|found| {
            let label = |key: &str| found.labels[key].as_str();
            let place = found.locality.region.as_str();
            (label("version"), label("tier"), place, found.weight)
        })
        .collect();
    assert_eq!(
        known,
        [("v1", "backend", "eu", 1), ("v2", "backend", "us", 7)]
    );

    // What the mesh file lists stands, whoever registers.
    let orders = control.enrol("orders").await;
    let orders = control.channel(&orders);
    register(orders, "orders", "orders-1", "10.0.0.9:15006")
        .await
        .unwrap();
    let snapshot = ads
        .wait(|now| !now.targets["orders:7070"].endpoints.is_empty())
        .await;
    let listed = &snapshot.targets["orders:7070"].endpoints;
    assert_eq!((listed.len(), listed[0].weight), (1, 2));

    for (change, field) in [
        (("k".to_owned(), "v".repeat(64)), "labels"),
        ((String::new(), "v".to_owned()), "labels"),
    ] {
        let mut wrong = second.clone();
        wrong.labels = [change].into();
        let refused = register_as(channel.clone(), wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused}");
    }
    control.stop().await;
}

#[tokio::test]
async fn a_service_outside_the_mesh_is_told_of_and_nobody_can_be_it() {
    let mut control = Control::start().await;
    let orders = control.enrol("orders").await;
    let edge = control.enrol("edge").await;
    let mut ads = control.ads(&edge, AdsOptions::default());
    ads.wait(|now| now.targets["orders:7070"].tls == TlsMode::Mutual)
        .await;
    let outside = "    authz: *edge\n  rest:";
    let listed = "    tls: { mode: DISABLE }\n    endpoints: [{ address: '10.0.0.9:80' }]\n  rest:";
    std::fs::write(control.mesh_file(), mesh().replace(outside, listed)).unwrap();
    let snapshot = ads
        .wait(|now| now.targets["orders:7070"].tls == TlsMode::Disable)
        .await;
    let target = &snapshot.targets["orders:7070"];
    assert_eq!(target.identity, "");
    assert_eq!(target.endpoints[0].address.port(), 80);
    assert_eq!(snapshot.targets[CATALOGUE].tls, TlsMode::Mutual);

    // Not with the certificate it had before, and not with a new one.
    let channel = control.channel(&orders);
    let refused = register(channel, "orders", "orders-1", "10.0.0.8:80").await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.get_details_error_info().unwrap().reason,
        "OUTSIDE_MESH"
    );
    control
        .try_enrol(&control.token("orders"))
        .await
        .expect_err("there is no such account any more");
    let status = control.status();
    let services = status["services"].as_array().unwrap();
    let shown = services.iter().find(|one| one["name"] == "orders");
    assert!(shown.unwrap()["identity"].is_null(), "{status}");
    control.stop().await;
}

#[tokio::test]
async fn lease_that_is_not_prolonged_ends() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    let channel = control.channel(&catalogue);
    register(
        channel.clone(),
        "catalogue",
        "catalogue-1",
        "127.0.0.1:4001",
    )
    .await
    .unwrap();
    register(
        channel.clone(),
        "catalogue",
        "catalogue-2",
        "127.0.0.1:4002",
    )
    .await
    .unwrap();
    ads.wait(|now| ports(now, CATALOGUE) == [4001, 4002]).await;
    let heartbeat = tokio::spawn(async move {
        loop {
            register(
                channel.clone(),
                "catalogue",
                "catalogue-2",
                "127.0.0.1:4002",
            )
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    ads.wait(|now| ports(now, CATALOGUE) == [4002]).await;
    heartbeat.abort();
    control.stop().await;
}

#[tokio::test]
async fn registry_takes_only_the_workload_s_own_service() {
    let mut control = Control::start().await;
    let channel_of_orders = control.channel(&control.enrol("orders").await);
    let wrong = register(channel_of_orders.clone(), "catalogue", "x", "127.0.0.1:1").await;
    let status = wrong.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "WRONG_SERVICE_ACCOUNT"
    );
    let unknown = register(channel_of_orders.clone(), "payments", "x", "127.0.0.1:1").await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    for address in ["localhost:1", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:1", ""] {
        let bad = register(channel_of_orders.clone(), "orders", "x", address).await;
        assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument, "{address}");
    }

    let expected = Expected::ServiceAccount("control".to_owned());
    let nobody = bootstrap_client_config(control.bundle(), expected).unwrap();
    let nameless = channel(&control.uri(), nobody);
    let status = register(nameless, "orders", "x", "127.0.0.1:1")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    control.stop().await;
}

#[tokio::test]
async fn restart_forgets_nothing() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    let channel = control.channel(&catalogue);
    register(channel, "catalogue", "catalogue-1", "127.0.0.1:4001")
        .await
        .unwrap();
    ads.wait(|now| ports(now, CATALOGUE) == [4001]).await;
    let stored = control.state_dir().join("registry.json");
    let deadline = Instant::now() + LONG;
    while !std::fs::read_to_string(&stored).is_ok_and(|json| json.contains("4001")) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    control.stop().await;
    assert_eq!(
        ports(ads.snapshots.borrow().as_deref().unwrap(), CATALOGUE),
        [4001]
    );
    control.start_again().await;
    // A client that was never there before sees the endpoint, with a certificate from before.
    let mut fresh = control.ads(&catalogue, sidecar("catalogue", "catalogue-2"));
    let snapshot = fresh.wait(|_| true).await;
    assert_eq!(ports(&snapshot, CATALOGUE), [4001]);
    // And the old one comes back by itself.
    let channel = control.channel(&catalogue);
    register(channel, "catalogue", "catalogue-3", "127.0.0.1:4003")
        .await
        .unwrap();
    ads.wait(|now| ports(now, CATALOGUE) == [4001, 4003]).await;
    control.stop().await;
}

#[tokio::test]
async fn damaged_registry_file_costs_a_heartbeat() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    control.stop().await;
    std::fs::write(control.state_dir().join("registry.json"), "[{").unwrap();
    control.start_again().await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    let channel = control.channel(&catalogue);
    register(channel, "catalogue", "catalogue-1", "127.0.0.1:4001")
        .await
        .unwrap();
    ads.wait(|now| ports(now, CATALOGUE) == [4001]).await;
    control.stop().await;
}

#[tokio::test]
async fn change_of_endpoints_touches_no_other_resource() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    ads.wait(|_| true).await;
    let channel = control.channel(&catalogue);
    let sent = |control: &Control| {
        let types = control.status()["nodes"][0]["types"].clone();
        ["CDS", "LDS", "RDS"].map(|kind| types[kind]["sent"].as_str().map(str::to_owned))
    };
    let before = sent(&control);
    for port in 4001..4011 {
        let address = format!("127.0.0.1:{port}");
        register(channel.clone(), "catalogue", "catalogue-1", &address)
            .await
            .unwrap();
        ads.wait(|now| ports(now, CATALOGUE) == [port]).await;
    }
    assert_eq!(before, sent(&control));
    control.stop().await;
}

#[tokio::test]
async fn mesh_file_is_taken_over_unless_it_is_broken() {
    let mut control = Control::start().await;
    let orders = control.enrol("orders").await;
    let mut ads = control.ads(&orders, sidecar("orders", "orders-1"));
    ads.wait(|now| now.targets.len() == 3).await;

    std::fs::write(control.mesh_file(), "services: { orders: { prot: 1 } }").unwrap();
    let deadline = Instant::now() + LONG;
    while control.status()["meshFile"]["problems"]
        .as_array()
        .unwrap()
        .is_empty()
    {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ads.snapshots.borrow().as_deref().unwrap().targets.len(), 3);

    // Even a restart now goes on with the last good one.
    control.stop().await;
    control.start_again().await;
    assert_eq!(control.status()["services"].as_array().unwrap().len(), 3);

    let changed = mesh().replace("edge-may", "edge-may-still");
    std::fs::write(control.mesh_file(), changed).unwrap();
    ads.wait(|now| {
        let rules = &now.inbound.as_ref().unwrap().allow_rules;
        rules[0].name == "edge-may-still"
    })
    .await;
    assert!(
        control.status()["meshFile"]["problems"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    control.stop().await;
}

#[tokio::test]
async fn status_shows_services_endpoints_and_acked_versions() {
    let mut control = Control::start().await;
    let catalogue = control.enrol("catalogue").await;
    let mut ads = control.ads(&catalogue, sidecar("catalogue", "catalogue-1"));
    let channel = control.channel(&catalogue);
    register(channel, "catalogue", "catalogue-1", "127.0.0.1:4001")
        .await
        .unwrap();
    ads.wait(|now| ports(now, CATALOGUE) == [4001]).await;
    let deadline = Instant::now() + LONG;
    let status = loop {
        let status = control.status();
        let types = &status["nodes"][0]["types"];
        if ["CDS", "EDS", "LDS", "RDS"].iter().all(|kind| {
            types[kind]["acked"].is_string() && types[kind]["acked"] == types[kind]["sent"]
        }) {
            break status;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status["nodes"][0]["node"], "catalogue-1");
    assert_eq!(
        status["nodes"][0]["identity"],
        "spiffe://test.local/ns/shop/sa/catalogue"
    );
    assert_eq!(
        status["services"][0]["endpoints"][0]["address"],
        "127.0.0.1:4001"
    );
    let ready = std::fs::read_to_string(control.dir.path().join("ready.json")).unwrap();
    assert!(ready.contains(&control.running.as_ref().unwrap().admin.to_string()));
    control.stop().await;
}
