//! Every setting of the data plane crosses the wire.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use weft_model::dataplane::{
    AdaptiveConcurrency, AuthzRule, Backend, CircuitBreakers, Criticality, Discovery, DnsName,
    Endpoint, FailurePercentage, Fault, FaultAbort, FaultDelay, HeaderChanges, HeaderMatch,
    HealthCheck, HealthStatus, HedgingPolicy, Inbound, LoadBalancing, Locality, MethodMatch,
    MethodRule, Mirror, OutlierDetection, RateLimit, RateLimitKey, RetryBudget, RouteMatch,
    RouteRule, SuccessRate, Target, TextMatch, TokenBucket,
};
use weft_xds::{decode, decode::Listener, encode};

const IDENTITY: &str = "spiffe://td.local/ns/shop/sa/carts";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn method() -> MethodRule {
    MethodRule {
        matches: MethodMatch {
            service: Some("shop.Carts".to_owned()),
            method: Some("Get".to_owned()),
        },
        timeout: Some(millis(1500)),
        retry_policy: None,
        hedging_policy: Some(HedgingPolicy {
            max_attempts: 3,
            hedging_delay: millis(20),
            non_fatal_status_codes: vec![14, 8],
        }),
        has_no_side_effects: true,
    }
}

fn route() -> RouteRule {
    let backend = Backend {
        authority: "carts:7070".to_owned(),
        subset: Some("v2".to_owned()),
        weight: 7,
    };
    RouteRule {
        name: "canary".to_owned(),
        matches: vec![RouteMatch {
            method: MethodMatch::default(),
            headers: vec![HeaderMatch {
                name: "x-tester".to_owned(),
                value: TextMatch::Regex("a+".to_owned()),
            }],
        }],
        backends: vec![backend.clone()],
        request_headers: HeaderChanges {
            set: vec![("x-a".to_owned(), "1".to_owned())],
            add: vec![("x-b".to_owned(), "2".to_owned())],
            remove: vec!["x-c".to_owned()],
        },
        response_headers: HeaderChanges::default(),
        mirrors: vec![Mirror {
            backend,
            share_per_100_000: 1234,
        }],
        fault: Some(Fault {
            delay: Some(FaultDelay {
                fixed_delay: millis(30),
                share_per_100_000: 50_000,
            }),
            abort: Some(FaultAbort {
                grpc_status: 14,
                share_per_100_000: 100_000,
                first_attempts: Some(2),
            }),
        }),
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        locality: Locality {
            region: "eu".to_owned(),
            zone: "eu-1".to_owned(),
            sub_zone: "rack".to_owned(),
        },
        priority: 1,
        weight: 4,
        labels: [("version".to_owned(), "v2".to_owned())].into(),
        health: HealthStatus::Draining,
        ..Endpoint::new("127.0.0.1:7000".parse().unwrap(), "carts-1")
    }
}

fn target() -> Target {
    Target {
        authority: "carts:7070".to_owned(),
        service: "carts".to_owned(),
        identity: IDENTITY.to_owned(),
        methods: vec![method()],
        routes: vec![route()],
        retry_throttling: None,
        outlier_detection: Some(OutlierDetection {
            consecutive_errors: None,
            failure_percentage: Some(FailurePercentage {
                threshold: 40,
                minimum_hosts: 2,
                request_volume: 20,
            }),
            success_rate: Some(SuccessRate {
                stdev_factor_permille: 1500,
                minimum_hosts: 3,
                request_volume: 30,
            }),
            ..OutlierDetection::default()
        }),
        circuit_breakers: CircuitBreakers {
            max_connections: 9,
            max_pending_requests: 8,
            max_requests: 7,
            max_retries: 6,
            retry_budget: RetryBudget {
                budget_percent: 5,
                min_retry_concurrency: 4,
            },
        },
        load_balancing: LoadBalancing::RingHash {
            header: "x-user".to_owned(),
            minimum_ring_size: 64,
            maximum_ring_size: 128,
        },
        health_check: Some(HealthCheck {
            service_name: "shop.Carts".to_owned(),
            interval: millis(700),
            timeout: millis(300),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        }),
        panic_threshold_percent: 30,
        subsets: [(
            "v2".to_owned(),
            [("version".to_owned(), "v2".to_owned())].into(),
        )]
        .into(),
        discovery: Discovery::Dns(DnsName {
            host: "carts.local".to_owned(),
            port: 7070,
            refresh: millis(2000),
        }),
        endpoints: vec![endpoint()],
    }
}

#[test]
fn every_setting_of_a_target_crosses() {
    let target = target();
    let cluster = decode::cluster(&encode::cluster(&target)).unwrap();
    let routes = decode::routes(&encode::routes(&target)).unwrap();
    let assigned = encode::endpoints(&target.authority, &target.endpoints);
    let again = Target {
        methods: routes.methods,
        routes: routes.routes,
        endpoints: decode::endpoints(&assigned).unwrap().endpoints,
        ..*cluster.target.unwrap()
    };
    assert_eq!(again, target);
}

#[test]
fn every_setting_before_a_workload_crosses() {
    let inbound = Inbound {
        service: "carts".to_owned(),
        deny_rules: vec![],
        allow_rules: vec![AuthzRule {
            name: "testers".to_owned(),
            principals: vec!["*".to_owned()],
            paths: vec!["/shop.Carts/*".to_owned()],
            headers: vec![HeaderMatch {
                name: "x-tester".to_owned(),
                value: TextMatch::Present,
            }],
        }],
        is_dry_run: true,
        rate_limits: vec![RateLimit {
            name: "per-caller".to_owned(),
            principals: vec![],
            paths: vec![],
            key: RateLimitKey::Header("x-user".to_owned()),
            token_bucket: TokenBucket {
                max_tokens: 10,
                tokens_per_fill: 5,
                fill_interval: millis(1000),
            },
        }],
        adaptive_concurrency: Some(AdaptiveConcurrency::default()),
        default_criticality: Criticality::SheddablePlus,
    };
    let again = decode::listener(&encode::inbound_listener(&inbound)).unwrap();
    assert_eq!(again, Listener::Inbound(inbound));
}

#[test]
fn settings_of_another_identity_are_refused() {
    let mut other = target();
    other.identity = "spiffe://td.local/ns/shop/sa/orders".to_owned();
    let mut mixed: weft_xds::proto::envoy::config::cluster::v3::Cluster =
        prost::Message::decode(encode::cluster(&target()).value.as_slice()).unwrap();
    let theirs: weft_xds::proto::envoy::config::cluster::v3::Cluster =
        prost::Message::decode(encode::cluster(&other).value.as_slice()).unwrap();
    mixed.metadata = theirs.metadata;
    let any = prost_types::Any {
        type_url: encode::cluster(&other).type_url,
        value: prost::Message::encode_to_vec(&mixed),
    };
    let error = decode::cluster(&any).unwrap_err();
    assert_eq!(error.path, "metadata");
}
