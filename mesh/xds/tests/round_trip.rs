//! What the control plane encodes is what a data plane decodes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use prost_types::Any;
use weft_model::dataplane::{
    AdaptiveConcurrency, AuthzRule, Backend, CircuitBreakers, Criticality, Discovery, DnsName,
    Endpoint, FailurePercentage, Fault, FaultAbort, FaultDelay, HeaderChanges, HeaderMatch,
    HealthCheck, HealthStatus, HedgingPolicy, Inbound, LoadBalancing, Locality, MethodMatch,
    MethodRule, Mirror, OutlierDetection, RateLimit, RateLimitKey, RetryBudget, RetryPolicy,
    RetryThrottling, RouteMatch, RouteRule, SuccessRate, Target, TextMatch, TlsMode, TokenBucket,
};
use weft_xds::{
    decode::{self, Listener},
    encode,
};

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,12}"
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

/// Any share, in thousandths of a percent.
fn share() -> impl Strategy<Value = u32> {
    1..=100_000_u32
}

fn codes() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::btree_set(1..=16_i32, 1..6).prop_map(|codes| codes.into_iter().collect())
}

prop_compose! {
    fn retry_policy()(
        max_attempts in 2..=5_u32,
        initial_backoff in millis(1..1000),
        max_backoff in millis(1000..9000),
        backoff_multiplier_permille in 1000..9000_u32,
        retryable_status_codes in codes(),
        per_attempt_timeout in option::of(millis(1..9000)),
    ) -> RetryPolicy {
        RetryPolicy {
            max_attempts,
            initial_backoff,
            max_backoff,
            backoff_multiplier_permille,
            retryable_status_codes,
            per_attempt_timeout,
        }
    }
}

prop_compose! {
    fn hedging_policy()(
        max_attempts in 2..=5_u32,
        hedging_delay in millis(0..900),
        non_fatal_status_codes in prop_oneof![codes(), Just(Vec::new())],
    ) -> HedgingPolicy {
        HedgingPolicy { max_attempts, hedging_delay, non_fatal_status_codes }
    }
}

fn method_match() -> impl Strategy<Value = MethodMatch> {
    prop_oneof![
        Just(MethodMatch::default()),
        "[a-z.]{1,20}\\.v1\\.[A-Z][a-z]{1,9}".prop_map(|service| MethodMatch {
            service: Some(service),
            method: None,
        }),
        ("[a-z.]{1,20}\\.[A-Z][a-z]{1,9}", "[A-Z][A-Za-z]{0,9}").prop_map(|(service, method)| {
            MethodMatch {
                service: Some(service),
                method: Some(method),
            }
        }),
    ]
}

prop_compose! {
    fn method_rule()(
        matches in method_match(),
        timeout in option::of(millis(1..100_000)),
        policy in option::of(prop_oneof![
            retry_policy().prop_map(|policy| (Some(policy), None)),
            hedging_policy().prop_map(|policy| (None, Some(policy))),
        ]),
        has_no_side_effects in any::<bool>(),
    ) -> MethodRule {
        let (retry_policy, hedging_policy) = policy.unwrap_or_default();
        MethodRule { matches, timeout, retry_policy, hedging_policy, has_no_side_effects }
    }
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        "[a-z*%]{1,5}".prop_map(TextMatch::Exact),
        "[a-z]{1,5}".prop_map(TextMatch::Prefix),
        "[a-z]{1,5}".prop_map(TextMatch::Suffix),
        "[a-z]{1,3}(\\.|[0-9]+)?".prop_map(TextMatch::Regex),
        Just(TextMatch::Present),
    ]
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    (name(), text_match()).prop_map(|(name, value)| HeaderMatch { name, value })
}

fn backend() -> impl Strategy<Value = Backend> {
    let authority = prop_oneof!["a:1", "b:2", "c:3"];
    (authority, option::of("v[12]"), 0..100_u32).prop_map(|(authority, subset, weight)| Backend {
        authority,
        subset,
        weight,
    })
}

/// At least one of them has a weight.
fn backends() -> impl Strategy<Value = Vec<Backend>> {
    (vec(backend(), 0..4), 1..9_u32).prop_map(|(mut backends, weight)| {
        if let Some(first) = backends.first_mut() {
            first.weight += weight;
        }
        backends
    })
}

fn header_changes() -> impl Strategy<Value = HeaderChanges> {
    let pairs = || vec((name(), "[ -~]{1,9}"), 0..3);
    (pairs(), pairs(), vec(name(), 0..3)).prop_map(|(set, add, remove)| HeaderChanges {
        set,
        add,
        remove,
    })
}

fn mirror() -> impl Strategy<Value = Mirror> {
    (backend(), share()).prop_map(|(backend, share_per_100_000)| Mirror {
        backend: Backend {
            weight: 0,
            ..backend
        },
        share_per_100_000,
    })
}

prop_compose! {
    fn fault()(
        delay in option::of((millis(1..9000), share())),
        abort in option::of((1..=16_i32, share(), option::of(1..5_u32))),
    ) -> Fault {
        Fault {
            delay: delay.map(|(fixed_delay, share_per_100_000)| FaultDelay {
                fixed_delay,
                share_per_100_000,
            }),
            abort: abort.map(|(grpc_status, share_per_100_000, first_attempts)| FaultAbort {
                grpc_status,
                share_per_100_000,
                first_attempts,
            }),
        }
    }
}

prop_compose! {
    fn route_rule()(
        name in name(),
        matches in vec((method_match(), vec(header_match(), 0..3)), 0..4),
        backends in backends(),
        request_headers in header_changes(),
        response_headers in header_changes(),
        mirrors in vec(mirror(), 0..3),
        fault in option::of(fault()),
    ) -> RouteRule {
        let matches = matches.into_iter();
        RouteRule {
            name,
            matches: matches.map(|(method, headers)| RouteMatch { method, headers }).collect(),
            backends,
            request_headers,
            response_headers,
            mirrors,
            fault,
        }
    }
}

fn load_balancing() -> impl Strategy<Value = LoadBalancing> {
    prop_oneof![
        Just(LoadBalancing::LeastRequest),
        Just(LoadBalancing::RoundRobin),
        Just(LoadBalancing::PickFirst),
        (millis(0..9000), millis(1..9000), 0..=100_000_u32).prop_map(
            |(blackout_period, expiration_period, error_utilization_penalty_permille)| {
                LoadBalancing::WeightedRoundRobin {
                    blackout_period,
                    expiration_period,
                    error_utilization_penalty_permille,
                }
            }
        ),
        (name(), 1..1000_u32, 1000..8_388_608_u32).prop_map(
            |(header, minimum_ring_size, maximum_ring_size)| LoadBalancing::RingHash {
                header,
                minimum_ring_size,
                maximum_ring_size,
            }
        ),
    ]
}

prop_compose! {
    fn outlier_detection()(
        consecutive_errors in option::of(1..100_u32),
        times in (millis(1..9000), millis(1..9000), millis(9000..99_000)),
        max_ejection_percent in 0..=100_u32,
        failures in option::of((0..=100_u32, 1..9_u32, 1..99_u32)),
        rate in option::of((1..9000_u32, 1..9_u32, 1..99_u32)),
    ) -> OutlierDetection {
        let (interval, base_ejection_time, max_ejection_time) = times;
        OutlierDetection {
            consecutive_errors,
            interval,
            base_ejection_time,
            max_ejection_time,
            max_ejection_percent,
            failure_percentage: failures.map(|(threshold, minimum_hosts, request_volume)| {
                FailurePercentage { threshold, minimum_hosts, request_volume }
            }),
            success_rate: rate.map(|(stdev_factor_permille, minimum_hosts, request_volume)| {
                SuccessRate { stdev_factor_permille, minimum_hosts, request_volume }
            }),
        }
    }
}

prop_compose! {
    fn circuit_breakers()(
        limits in any::<(u32, u32, u32, u32)>(),
        budget_percent in 0..=100_u32,
        min_retry_concurrency in any::<u32>(),
    ) -> CircuitBreakers {
        let (max_connections, max_pending_requests, max_requests, max_retries) = limits;
        CircuitBreakers {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            retry_budget: RetryBudget { budget_percent, min_retry_concurrency },
        }
    }
}

prop_compose! {
    fn health_check()(
        service_name in "[a-z.]{0,9}",
        times in (millis(1..9000), millis(1..9000)),
        thresholds in (1..9_u32, 1..9_u32),
    ) -> HealthCheck {
        HealthCheck {
            service_name,
            interval: times.0,
            timeout: times.1,
            unhealthy_threshold: thresholds.0,
            healthy_threshold: thresholds.1,
        }
    }
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-z]{1,4}", "[a-z0-9]{0,4}", 0..3)
}

fn discovery() -> impl Strategy<Value = Discovery> {
    prop_oneof![
        Just(Discovery::Endpoints),
        ("[a-z.-]{1,9}", 1..=u16::MAX, millis(1..9000)).prop_map(|(host, port, refresh)| {
            Discovery::Dns(DnsName {
                host,
                port,
                refresh,
            })
        }),
    ]
}

prop_compose! {
    fn endpoint()(
        ip in any::<std::net::IpAddr>(),
        port in 1..=u16::MAX,
        instance in name(),
        locality in ("[a-c]{0,2}", "[a-c]{0,2}", "[a-c]{0,2}"),
        priority in 0..3_u32,
        weight in 1..100_u32,
        labels in labels(),
        health in prop_oneof![
            Just(HealthStatus::Healthy),
            Just(HealthStatus::Draining),
            Just(HealthStatus::Unhealthy),
        ],
    ) -> Endpoint {
        let (region, zone, sub_zone) = locality;
        Endpoint {
            address: SocketAddr::new(ip, port),
            instance,
            locality: Locality { region, zone, sub_zone },
            priority,
            weight,
            labels,
            health,
        }
    }
}

/// Sorted, each address once.
fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    vec(endpoint(), 0..7).prop_map(|mut endpoints| {
        endpoints.sort();
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        endpoints
    })
}

prop_compose! {
    fn target()(
        service in name(),
        port in 1..=u16::MAX,
        methods in vec(method_rule(), 1..8),
        routes in vec(route_rule(), 0..4),
        throttling in option::of((1..=1000_u32, 1..1000_u32)),
        outlier_detection in option::of(outlier_detection()),
        circuit_breakers in circuit_breakers(),
        load_balancing in load_balancing(),
        health_check in option::of(health_check()),
        panic_threshold_percent in 0..=100_u32,
        subsets in btree_map("[a-z]{1,3}", labels(), 0..3),
        discovery in discovery(),
        tls in prop_oneof![Just(TlsMode::Mutual), Just(TlsMode::Disable)],
    ) -> Target {
        Target {
            authority: format!("{service}:{port}"),
            identity: match tls {
                TlsMode::Mutual => format!("spiffe://td.local/ns/shop/sa/{service}"),
                TlsMode::Disable => String::new(),
            },
            tls,
            service,
            methods,
            routes,
            retry_throttling: throttling.map(|(max_tokens, token_ratio_permille)| RetryThrottling {
                max_tokens,
                token_ratio_permille,
            }),
            outlier_detection,
            circuit_breakers,
            load_balancing,
            health_check,
            panic_threshold_percent,
            subsets,
            discovery,
            endpoints: Vec::new(),
        }
    }
}

/// Whose subsets the backends above can name.
fn other_targets() -> Vec<Target> {
    let subset = |number: &str| {
        let labels = [("version".to_owned(), number.to_owned())].into();
        (format!("v{number}"), labels)
    };
    ["a:1", "b:2", "c:3"]
        .map(|authority| Target {
            authority: authority.to_owned(),
            subsets: [subset("1"), subset("2")].into(),
            ..Target::default()
        })
        .into()
}

fn pattern(body: &'static str) -> impl Strategy<Value = String> {
    (body, 0..3).prop_map(|(text, wildcard)| match wildcard {
        0 => text,
        1 => format!("{text}*"),
        _ => format!("*{text}"),
    })
}

fn authz_rule() -> impl Strategy<Value = AuthzRule> {
    let principals = prop_oneof![
        3 => pattern("spiffe://td/ns/[a-z]{1,5}/sa/[a-z]{1,5}"),
        1 => Just("*".to_owned()),
    ];
    (
        "[a-z0-9-]{0,16}",
        vec(principals, 0..4),
        vec(path(), 0..4),
        vec(header_match(), 0..3),
    )
        .prop_map(|(name, principals, paths, headers)| AuthzRule {
            name,
            principals,
            paths,
            headers,
        })
}

fn path() -> impl Strategy<Value = String> {
    pattern("/[a-zA-Z.]{1,9}/[A-Z]{1,5}")
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    let key = prop_oneof![
        2 => Just(RateLimitKey::All),
        1 => Just(RateLimitKey::Caller),
        1 => Just(RateLimitKey::Method),
        1 => name().prop_map(RateLimitKey::Header),
    ];
    (
        name(),
        vec(path(), 0..2),
        vec(path(), 0..2),
        key,
        (1..99_u32, 1..99_u32, millis(1..99_000)),
    )
        .prop_map(|(name, principals, paths, key, bucket)| RateLimit {
            name,
            principals,
            paths,
            key,
            token_bucket: TokenBucket {
                max_tokens: bucket.0,
                tokens_per_fill: bucket.1,
                fill_interval: bucket.2,
            },
        })
}

prop_compose! {
    fn inbound()(
        service in name(),
        deny_rules in vec(authz_rule(), 0..4),
        allow_rules in vec(authz_rule(), 0..14),
        is_dry_run in any::<bool>(),
        rate_limits in vec(rate_limit(), 0..5),
        concurrency in option::of((1..50_u32, 50..5000_u32)),
        criticality in 0..4_usize,
    ) -> Inbound {
        Inbound {
            service,
            deny_rules,
            allow_rules,
            is_dry_run,
            rate_limits,
            adaptive_concurrency: concurrency.map(|(min_concurrency, max_concurrency)| {
                AdaptiveConcurrency { min_concurrency, max_concurrency }
            }),
            default_criticality: Criticality::ALL[criticality],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn target_survives(target in target()) {
        let mut targets = other_targets();
        targets.push(target.clone());
        let any = encode::routes(&target, &encode::Subsets::of(&targets));
        let routes = decode::routes(&any).unwrap();
        let cluster = decode::cluster(&encode::cluster(&target)).unwrap();
        let listener = decode::listener(&encode::listener(&target)).unwrap();

        let outbound = Listener::Outbound {
            authority: target.authority.clone(),
            routes: routes.name.clone(),
        };
        prop_assert_eq!(listener, outbound);
        prop_assert_eq!(&routes.cluster, &cluster.name);
        let by_eds = matches!(target.discovery, Discovery::Endpoints);
        prop_assert_eq!(cluster.endpoints, by_eds.then(|| target.authority.clone()));
        let mut load_balancing = cluster.load_balancing;
        if let LoadBalancing::RingHash { header, .. } = &mut load_balancing {
            *header = routes.hash_header.unwrap_or_default();
        }
        let again = Target {
            authority: target.authority.clone(),
            service: routes.service,
            tls: cluster.tls,
            identity: cluster.identity,
            methods: routes.methods,
            routes: routes.rules,
            retry_throttling: cluster.retry_throttling,
            outlier_detection: cluster.outlier_detection,
            circuit_breakers: cluster.circuit_breakers,
            load_balancing,
            health_check: cluster.health_check,
            panic_threshold_percent: cluster.panic_threshold_percent,
            subsets: cluster.subsets,
            discovery: cluster.discovery,
            endpoints: Vec::new(),
        };
        prop_assert_eq!(again, target);
    }

    #[test]
    fn endpoints_survive(endpoints in endpoints()) {
        let again = decode::endpoints(&encode::endpoints("a:1", &endpoints)).unwrap();
        prop_assert_eq!(again.endpoints, endpoints);
    }

    #[test]
    fn what_a_workload_takes_survives(inbound in inbound()) {
        let any = encode::inbound_listener(&inbound);
        // Versions are hashes: other bytes would be news to every node.
        prop_assert_eq!(&any, &encode::inbound_listener(&inbound));
        let again = decode::listener(&any).unwrap();
        prop_assert_eq!(again, Listener::Inbound(inbound));
    }

    #[test]
    fn no_bytes_bring_a_decoder_down(value in vec(any::<u8>(), 0..300)) {
        let url = |kind: weft_xds::resources::ResourceType| Any {
            type_url: kind.url().to_owned(),
            value: value.clone(),
        };
        use weft_xds::resources::ResourceType;
        let _ = decode::listener(&url(ResourceType::Listener));
        let _ = decode::routes(&url(ResourceType::Routes));
        let _ = decode::cluster(&url(ResourceType::Cluster));
        let _ = decode::endpoints(&url(ResourceType::Endpoints));
    }
}
