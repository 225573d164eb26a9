//! What the parts make together.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use prost::Message;
use weft_model::dataplane::{
    Backend, Discovery, DnsName, Endpoint, LoadBalancing, MethodRule, RouteRule,
};

use super::*;
use crate::{encode, proto::envoy::config::route::v3::RouteConfiguration};

const V2: &str = "outbound|7070|v2|orders";

fn target(authority: &str) -> Target {
    Target {
        authority: authority.to_owned(),
        service: "orders".to_owned(),
        identity: "spiffe://td/ns/shop/sa/orders".to_owned(),
        methods: vec![MethodRule::default()],
        endpoints: vec![Endpoint::new(([10, 0, 0, 1], 1).into(), "orders-1")],
        ..Target::default()
    }
}

fn accept(store: &mut Store, kind: ResourceType, resources: Vec<Any>) {
    let response = DiscoveryResponse {
        type_url: kind.url().to_owned(),
        resources,
        ..Default::default()
    };
    store.accept(kind, response).unwrap();
}

/// A store that holds `dialled`, and clusters of `others` that no listener leads to.
fn store(dialled: &Target, routes: Any, others: &[Target]) -> Store {
    let mut store = Store::new(None);
    let all = || [dialled].into_iter().chain(others);
    accept(
        &mut store,
        ResourceType::Cluster,
        all().map(encode::cluster).collect(),
    );
    let assigned = |target: &Target| encode::endpoints(&target.authority, &target.endpoints);
    accept(
        &mut store,
        ResourceType::Endpoints,
        all().map(assigned).collect(),
    );
    accept(
        &mut store,
        ResourceType::Listener,
        vec![encode::listener(dialled)],
    );
    accept(&mut store, ResourceType::Routes, vec![routes]);
    store
}

#[test]
fn a_backend_that_nobody_dials_is_a_target_too() {
    let mut dialled = target("orders:7070");
    dialled.routes = vec![RouteRule {
        backends: vec![Backend {
            authority: V2.to_owned(),
            subset: None,
            weight: 1,
        }],
        ..RouteRule::default()
    }];
    let routes = encode::routes(&dialled, &encode::Subsets::default());
    // As another control plane sends it: without marks of ours.
    let mut foreign = RouteConfiguration::decode(routes.value.as_slice()).unwrap();
    for route in &mut foreign.virtual_hosts[0].routes {
        route.metadata = None;
    }
    let mut store = store(&dialled, crate::resources::any(&foreign), &[target(V2)]);
    assert!(store.is_settled());
    let snapshot = store.snapshot();
    assert_eq!(snapshot.targets[V2].endpoints, target(V2).endpoints);
    assert!(snapshot.targets.contains_key("orders:7070"));

    // Without its endpoints it stays as it was.
    let others = vec![encode::cluster(&dialled)];
    accept(&mut store, ResourceType::Cluster, others);
    assert!(store.snapshot().targets.contains_key(V2));
}

#[test]
fn a_name_needs_no_endpoints_and_a_ring_gets_its_header() {
    let name = Discovery::Dns(DnsName {
        host: "orders.example.com".to_owned(),
        port: 7070,
        refresh: std::time::Duration::from_secs(5),
    });
    let ring = LoadBalancing::RingHash {
        header: "x-user".to_owned(),
        minimum_ring_size: 64,
        maximum_ring_size: 128,
    };
    let named = Target {
        discovery: name,
        load_balancing: ring,
        endpoints: Vec::new(),
        panic_threshold_percent: 50,
        ..target("orders:7070")
    };
    let routes = encode::routes(&named, &encode::Subsets::default());
    let mut store = store(&named, routes, &[]);
    assert!(store.names(ResourceType::Endpoints).is_empty());
    assert!(store.is_settled());
    assert_eq!(store.snapshot().targets["orders:7070"], named);
}
