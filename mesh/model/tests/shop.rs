//! The shop's own mesh file against the shop's own contracts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, time::Duration};

use weft_model::{
    Mesh,
    dataplane::{self, MethodMatch},
    edge_routes, inbound,
};

fn shop() -> Mesh {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mesh.yaml");
    Mesh::checked(&path, contracts::pool()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn rule(authority: &str, path: &str) -> dataplane::MethodRule {
    let targets = weft_model::dataplane(&shop(), contracts::pool());
    let mut rules = targets[authority].methods.iter();
    rules
        .find(|rule| rule.matches.matches(path))
        .expect("the last rule matches all")
        .clone()
}

#[test]
fn the_shop_has_seven_services_and_each_has_an_identity() {
    let targets = weft_model::dataplane(&shop(), contracts::pool());
    assert_eq!(targets.len(), 7);
    let orders = &targets["orders:7070"];
    assert_eq!(orders.identity, "spiffe://sockshop.local/ns/shop/sa/orders");
    assert!(orders.endpoints.is_empty());
}

#[test]
fn a_safe_method_is_retried_and_another_is_not() {
    let read = rule("carts:7070", "/sockshop.carts.v1.CartService/GetCart");
    assert_eq!(read.timeout, Some(Duration::from_secs(2)));
    let policy = read.retry_policy.expect("a retry policy");
    assert_eq!(
        (policy.max_attempts, policy.backoff_multiplier_permille),
        (4, 2000)
    );
    assert_eq!(policy.retryable_status_codes, [14]);

    let create = rule("carts:7070", "/sockshop.carts.v1.CartService/CreateCart");
    assert_eq!(create.timeout, Some(Duration::from_secs(5)));
    assert_eq!(create.retry_policy, None);
}

#[test]
fn a_server_stream_has_no_timeout() {
    let watch = rule("orders:7070", "/sockshop.orders.v1.OrderService/WatchOrder");
    assert_eq!(watch.timeout, None);
    let events = rule("orders:7070", "/weft.events.v1.EventService/StreamEvents");
    assert_eq!(events.timeout, None);
}

#[test]
fn what_the_contracts_do_not_know_has_a_deadline_and_no_retry() {
    let health = rule("catalogue:7070", "/grpc.health.v1.Health/Check");
    assert_eq!(health.matches, MethodMatch::default());
    assert_eq!(health.timeout, Some(Duration::from_secs(5)));
    assert_eq!(health.retry_policy, None);
}

#[test]
fn the_edge_routes_what_the_contracts_expose_and_nothing_else() {
    let routes = edge_routes(&shop(), contracts::pool());
    assert_eq!(routes["sockshop.payments.v1.CardService"], "payments:7070");
    assert!(!routes.contains_key("sockshop.payments.v1.PaymentService"));
    assert!(!routes.contains_key("weft.events.v1.EventService"));
}

#[test]
fn payments_lets_the_edge_bring_cards_only() {
    let rules = inbound(&shop(), "payments").expect("payments").allow_rules;
    let edge = "spiffe://sockshop.local/ns/shop/sa/edge".to_owned();
    let paths: Vec<_> = rules
        .iter()
        .filter(|rule| rule.principals.contains(&edge))
        .collect();
    assert_eq!(paths.len(), 1);
    assert_eq!(
        paths[0].paths,
        ["/sockshop.payments.v1.CardService/TokenizeCard"]
    );
    assert_eq!(inbound(&shop(), "nobody"), None);
}
