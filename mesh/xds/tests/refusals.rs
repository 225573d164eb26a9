//! What this data plane would not carry out is refused, with the path of the field.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use prost::Message;
use prost_types::{Any, Struct, Value, value::Kind};
use weft_model::dataplane::{
    AdaptiveConcurrency, Backend, Endpoint, Fault, FaultDelay, HeaderChanges, HeaderMatch,
    HealthCheck, HedgingPolicy, Inbound, LoadBalancing, MethodMatch, MethodRule, OutlierDetection,
    RateLimit, RateLimitKey, RouteMatch, RouteRule, Target, TextMatch, TlsMode, TokenBucket,
};
use weft_xds::{
    decode::{self, Invalid},
    encode,
    proto::envoy::{
        config::{
            cluster::v3::{self as cluster_v3, Cluster},
            core::v3::{
                Metadata, TransportSocket,
                health_check::{HealthChecker, TcpHealthCheck},
            },
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::{Listener, filter::ConfigType},
            route::v3::{
                HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration,
                WeightedCluster, route::Action, route_action::ClusterSpecifier,
            },
        },
        extensions::filters::{
            http::{fault::v3::HttpFault, local_ratelimit::v3::LocalRateLimit, rbac::v3::Rbac},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, http_filter,
            },
        },
        r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
};

fn target() -> Target {
    Target {
        authority: "orders:7070".to_owned(),
        service: "orders".to_owned(),
        identity: "spiffe://td/ns/shop/sa/orders".to_owned(),
        methods: vec![MethodRule::default()],
        outlier_detection: Some(OutlierDetection::default()),
        health_check: Some(HealthCheck {
            service_name: String::new(),
            interval: SECOND,
            timeout: SECOND,
            unhealthy_threshold: 1,
            healthy_threshold: 1,
        }),
        ..Target::default()
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// A target with one rule that has everything, before its one method rule.
fn routed() -> Target {
    let rule = RouteRule {
        name: "canary".to_owned(),
        matches: vec![RouteMatch {
            method: MethodMatch::default(),
            headers: vec![HeaderMatch {
                name: "x-a".to_owned(),
                value: TextMatch::Exact("1".to_owned()),
            }],
        }],
        backends: vec![Backend {
            authority: "orders:7070".to_owned(),
            subset: Some("v1".to_owned()),
            weight: 1,
        }],
        request_headers: HeaderChanges {
            set: vec![("x-b".to_owned(), "2".to_owned())],
            ..HeaderChanges::default()
        },
        fault: Some(Fault {
            delay: Some(FaultDelay {
                fixed_delay: SECOND,
                share_per_100_000: 1,
            }),
            abort: None,
        }),
        ..RouteRule::default()
    };
    Target {
        routes: vec![rule],
        ..target()
    }
}

fn changed<M: Message + Default>(any: Any, change: impl FnOnce(&mut M)) -> Any {
    let mut message = M::decode(any.value.as_slice()).unwrap();
    change(&mut message);
    Any {
        value: message.encode_to_vec(),
        ..any
    }
}

fn routes(target: &Target) -> Any {
    encode::routes(target, &encode::Subsets::of([target]))
}

/// Where a change of the first route is refused, after what all routes have in common.
fn route_of(target: &Target, change: impl FnOnce(&mut Route)) -> Invalid {
    let any = changed::<RouteConfiguration>(routes(target), |routes| {
        change(&mut routes.virtual_hosts[0].routes[0]);
    });
    let error = decode::routes(&any).unwrap_err();
    let path = error.path.strip_prefix("virtual_hosts[0].routes[0]");
    let path = path.unwrap_or(&error.path).trim_start_matches('.');
    Invalid {
        path: path.to_owned(),
        ..error
    }
}

fn route(change: impl FnOnce(&mut Route)) -> String {
    route_of(&target(), change).path
}

fn action(change: impl FnOnce(&mut RouteAction)) -> String {
    route(|route| change(action_of(route)))
}

fn action_of(route: &mut Route) -> &mut RouteAction {
    let Some(Action::Route(action)) = &mut route.action else {
        panic!("no route action");
    };
    action
}

fn cluster(change: impl FnOnce(&mut Cluster)) -> String {
    let any = changed(encode::cluster(&target()), change);
    decode::cluster(&any).unwrap_err().path
}

#[test]
fn routes_that_match_by_what_is_unknown() {
    let matched = |header: HeaderMatcher| {
        route(|route| {
            let found = route.r#match.as_mut().unwrap();
            found.headers.push(HeaderMatcher {
                name: "x-a".to_owned(),
                ..header
            });
        })
    };
    let nothing = HeaderMatcher::default();
    assert_eq!(matched(nothing), "match.headers[0].header_match_specifier");
    let inverted = HeaderMatcher {
        invert_match: true,
        ..HeaderMatcher::default()
    };
    assert_eq!(matched(inverted), "match.headers[0].invert_match");
    let regex = route_of(&routed(), |route| {
        use weft_xds::proto::envoy::{
            config::route::v3::header_matcher::HeaderMatchSpecifier::StringMatch,
            r#type::matcher::v3::{
                RegexMatcher, StringMatcher, string_matcher::MatchPattern::SafeRegex,
            },
        };
        let broken = RegexMatcher {
            regex: "a(".to_owned(),
            ..Default::default()
        };
        let text = StringMatcher {
            match_pattern: Some(SafeRegex(broken)),
            ..Default::default()
        };
        let found = &mut route.r#match.as_mut().unwrap().headers[0];
        found.header_match_specifier = Some(StringMatch(text));
    });
    assert_eq!(regex.path, "match.headers[0].string_match.safe_regex.regex");
    let path = route(|route| {
        use weft_xds::proto::envoy::config::route::v3::route_match::PathSpecifier;
        let found = route.r#match.as_mut().unwrap();
        found.path_specifier = Some(PathSpecifier::Prefix("/orders".to_owned()));
    });
    assert_eq!(path, "match.prefix");
}

#[test]
fn routes_that_lead_where_calls_would_be_lost() {
    let weightless = action(|action| {
        let split = WeightedCluster::default();
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(split));
    });
    assert_eq!(weightless, "route.weighted_clusters.clusters");
    let by_header = action(|action| {
        action.cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x".to_owned()));
    });
    assert_eq!(by_header, "route.cluster_specifier");
    let foreign_subset = route_of(&routed(), |route| {
        let Some(ClusterSpecifier::WeightedClusters(split)) =
            &mut action_of(route).cluster_specifier
        else {
            panic!("{route:?}");
        };
        let metadata = split.clusters[0].metadata_match.as_mut().unwrap();
        metadata.filter_metadata.remove("weft.mesh");
    });
    assert_eq!(
        foreign_subset.path,
        "route.weighted_clusters.clusters[0].metadata_match"
    );
    let rewritten = action(|action| action.prefix_rewrite = "/x".to_owned());
    assert_eq!(rewritten, "route.prefix_rewrite");
}

#[test]
fn retries_and_hedges_that_mean_something_else() {
    let retried = |policy: RetryPolicy| action(|action| action.retry_policy = Some(policy));
    let unknown = RetryPolicy {
        retry_on: "unavailable,5xx".to_owned(),
        ..with_back_off()
    };
    assert_eq!(retried(unknown), "route.retry_policy.retry_on");
    let idle = RetryPolicy {
        per_try_idle_timeout: Some(prost_types::Duration::default()),
        ..with_back_off()
    };
    assert_eq!(retried(idle), "route.retry_policy.per_try_idle_timeout");
    let no_back_off = RetryPolicy::default();
    assert_eq!(retried(no_back_off), "route.retry_policy.retry_back_off");

    let hedged = Target {
        methods: vec![MethodRule {
            hedging_policy: Some(HedgingPolicy {
                max_attempts: 3,
                hedging_delay: SECOND,
                non_fatal_status_codes: vec![14],
            }),
            ..MethodRule::default()
        }],
        ..target()
    };
    let no_interval = route_of(&hedged, |route| {
        let policy = action_of(route).retry_policy.as_mut().unwrap();
        policy.per_try_timeout = None;
    });
    assert_eq!(no_interval.path, "route.hedge_policy");
    let alone = route_of(&hedged, |route| action_of(route).retry_policy = None);
    assert_eq!(alone.path, "route.retry_policy");
}

fn with_back_off() -> RetryPolicy {
    use weft_xds::proto::envoy::config::route::v3::retry_policy::RetryBackOff;
    RetryPolicy {
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            max_interval: None,
        }),
        ..Default::default()
    }
}

#[test]
fn header_changes_that_hold_variables() {
    let variable = route_of(&routed(), |route| {
        let header = route.request_headers_to_add[0].header.as_mut().unwrap();
        header.value = "%DOWNSTREAM_REMOTE_ADDRESS%".to_owned();
    });
    assert_eq!(
        variable.path,
        "request_headers_to_add[0].header.value with `%` variables"
    );
    let absent = route_of(&routed(), |route| {
        route.request_headers_to_add[0].append_action = 1;
    });
    assert_eq!(absent.path, "request_headers_to_add[0].append_action");
}

#[test]
fn faults_and_filters_of_routes_that_are_unknown() {
    const KEY: &str = "envoy.filters.http.fault";
    let faulty = |change: fn(&mut HttpFault)| {
        let error = route_of(&routed(), |route| {
            let config = route.typed_per_filter_config.remove(KEY).unwrap();
            let config = changed::<HttpFault>(config, change);
            route.typed_per_filter_config.insert(KEY.to_owned(), config);
        });
        let prefix = format!("typed_per_filter_config[{KEY}].");
        error.path.strip_prefix(&prefix).unwrap().to_owned()
    };
    let everywhere = |fault: &mut HttpFault| fault.upstream_cluster = "x".to_owned();
    assert_eq!(faulty(everywhere), "upstream_cluster");
    let no_share = |fault: &mut HttpFault| fault.delay.as_mut().unwrap().percentage = None;
    assert_eq!(faulty(no_share), "delay.percentage");
    let too_fine = |fault: &mut HttpFault| {
        fault.delay.as_mut().unwrap().percentage = Some(FractionalPercent {
            numerator: 15,
            denominator: DenominatorType::Million as i32,
        });
    };
    assert_eq!(faulty(too_fine), "delay.percentage");

    let other = route(|route| {
        let config = Any::default();
        route.typed_per_filter_config.insert("x".to_owned(), config);
    });
    assert_eq!(other, "typed_per_filter_config[x]");
}

#[test]
fn lists_that_do_not_follow_from_their_rules() {
    // Another timeout for calls with the header: the rules have no place for it.
    let differing = route_of(&routed(), |route| {
        let limits = action_of(route).max_stream_duration.as_mut().unwrap();
        limits.max_stream_duration = Some(prost_types::Duration {
            seconds: 9,
            nanos: 0,
        });
    });
    assert_eq!(differing.reason, "does not follow from the rules around it");
    // The same from another control plane, which marks no rules.
    let foreign = route_of(&routed(), |route| {
        route.metadata = None;
        let limits = action_of(route).max_stream_duration.as_mut().unwrap();
        limits.max_stream_duration = Some(prost_types::Duration {
            seconds: 9,
            nanos: 0,
        });
    });
    assert_eq!(foreign.path, "route");
    let skipped = route_of(&routed(), |route| {
        let facts = route.metadata.as_mut().unwrap();
        let facts = facts.filter_metadata.get_mut("weft.mesh").unwrap();
        facts.fields.insert("rule".to_owned(), number(7.0));
    });
    assert_eq!(skipped.path, "metadata");
}

fn number(value: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(value)),
    }
}

#[test]
fn another_control_planes_rules_by_header_are_read() {
    let any = changed::<RouteConfiguration>(routes(&routed()), |routes| {
        let route = &mut routes.virtual_hosts[0].routes[0];
        route.metadata = None;
        route.typed_per_filter_config.clear();
        let action = action_of(route);
        let v2 = ClusterSpecifier::Cluster("outbound|7070|v2|orders".to_owned());
        action.cluster_specifier = Some(v2);
    });
    let read = decode::routes(&any).unwrap();
    assert_eq!(read.cluster, "outbound|7070|v2|orders");
    assert_eq!(read.methods, target().methods);
    let leads_to = |at: usize| {
        read.rules[at]
            .backends
            .first()
            .map(|b| b.authority.as_str())
    };
    assert_eq!((leads_to(0), leads_to(1)), (None, Some("orders:7070")));
    assert_eq!(read.backends().collect::<Vec<_>>(), ["orders:7070"]);
}

#[test]
fn clusters_whose_connections_or_endpoints_are_unknown() {
    assert_eq!(cluster(|c| c.transport_socket = None), "transport_socket");
    let original = cluster(|c| {
        let kind = cluster_v3::cluster::DiscoveryType::OriginalDst as i32;
        let kind = cluster_v3::cluster::ClusterDiscoveryType::Type(kind);
        c.cluster_discovery_type = Some(kind);
    });
    assert_eq!(original, "type");
    let nameless = cluster(|c| {
        let kind = cluster_v3::cluster::DiscoveryType::LogicalDns as i32;
        let kind = cluster_v3::cluster::ClusterDiscoveryType::Type(kind);
        c.cluster_discovery_type = Some(kind);
    });
    assert_eq!(nameless, "load_assignment");
}

#[test]
fn cleartext_is_what_somebody_asked_for_and_nothing_else_is() {
    let tls = |change: fn(&mut Cluster)| {
        let any = changed(encode::cluster(&target()), change);
        decode::cluster(&any).map(|cluster| (cluster.tls, cluster.identity))
    };
    fn say(cluster: &mut Cluster, mode: &str) {
        let kind = Some(Kind::StringValue(mode.to_owned()));
        let fields = [("tlsMode".to_owned(), Value { kind })].into();
        let facts = ("weft.mesh".to_owned(), Struct { fields });
        let metadata = cluster.metadata.get_or_insert_default();
        metadata.filter_metadata = [facts].into();
    }
    let raw = || TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: None,
    };
    let cleartext = Ok((TlsMode::Disable, String::new()));
    let said = tls(|c| {
        c.transport_socket = None;
        say(c, "DISABLE");
    });
    assert_eq!(said, cleartext);
    let by_socket = changed::<Cluster>(encode::cluster(&target()), |c| {
        c.transport_socket = Some(raw());
    });
    assert_eq!(decode::cluster(&by_socket).unwrap().tls, TlsMode::Disable);
    let path = |found: Result<_, Invalid>| found.unwrap_err().path;
    // Forgotten, contradicted, or misspelt.
    assert_eq!(path(tls(|c| c.transport_socket = None)), "transport_socket");
    assert_eq!(path(tls(|c| say(c, "DISABLE"))), "transport_socket");
    let misspelt = tls(|c| {
        c.transport_socket = None;
        say(c, "disable");
    });
    assert_eq!(path(misspelt), "transport_socket");
    let of_another_kind = tls(|c| {
        c.transport_socket.as_mut().unwrap().name = "envoy.transport_sockets.alts".to_owned();
    });
    assert_eq!(path(of_another_kind), "transport_socket.name");
}

#[test]
fn cleartext_goes_out_as_envoy_and_grpc_know_it() {
    let target = Target {
        tls: TlsMode::Disable,
        identity: String::new(),
        ..target()
    };
    let cluster = Cluster::decode(encode::cluster(&target).value.as_slice()).unwrap();
    assert_eq!(cluster.transport_socket, None);
    assert_eq!(
        decode::cluster(&encode::cluster(&target)).unwrap().tls,
        target.tls
    );
}

#[test]
fn clusters_whose_protection_would_be_lost() {
    let maglev = cluster(|c| {
        c.load_balancing_policy = None;
        c.lb_policy = cluster_v3::cluster::LbPolicy::Maglev as i32;
    });
    assert_eq!(maglev, "lb_policy");
    let none_known = cluster(|c| {
        let list = c.load_balancing_policy.as_mut().unwrap();
        for policy in &mut list.policies {
            policy.typed_extension_config.as_mut().unwrap().name = "x".to_owned();
        }
    });
    assert_eq!(none_known, "load_balancing_policy.policies");
    let half = cluster(|c| {
        let detection = c.outlier_detection.as_mut().unwrap();
        detection.enforcing_success_rate = Some(50);
    });
    assert_eq!(half, "outlier_detection.enforcing_success_rate");
    let local = cluster(|c| {
        let detection = c.outlier_detection.as_mut().unwrap();
        detection.split_external_local_origin_errors = true;
    });
    assert_eq!(
        local,
        "outlier_detection.split_external_local_origin_errors"
    );
    let per_host = cluster(|c| {
        let breakers = c.circuit_breakers.as_mut().unwrap();
        breakers.per_host_thresholds = breakers.thresholds.clone();
    });
    assert_eq!(per_host, "circuit_breakers.per_host_thresholds");
    let fraction = cluster(|c| {
        let panic = c.common_lb_config.as_mut().unwrap();
        panic.healthy_panic_threshold.as_mut().unwrap().value = 0.5;
    });
    assert_eq!(fraction, "common_lb_config.healthy_panic_threshold");
    let tcp = cluster(|c| {
        let tcp = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
        c.health_checks[0].health_checker = Some(tcp);
    });
    assert_eq!(tcp, "health_checks[0].health_checker");
    let two = cluster(|c| c.health_checks.push(c.health_checks[0].clone()));
    assert_eq!(two, "health_checks");
    let mut ring = target();
    ring.load_balancing = LoadBalancing::RingHash {
        header: "x-a".to_owned(),
        minimum_ring_size: 9,
        maximum_ring_size: 8,
    };
    let error = decode::cluster(&encode::cluster(&ring)).unwrap_err();
    assert!(error.path.ends_with("minimum_ring_size"), "{error}");
}

#[test]
fn endpoints_that_come_twice_or_are_no_address() {
    let endpoint = |port| Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], port)), "a");
    let any = encode::endpoints("orders:7070", &[endpoint(1), endpoint(2)]);
    let refused = |change: fn(&mut ClusterLoadAssignment)| {
        decode::endpoints(&changed(any.clone(), change))
            .unwrap_err()
            .path
    };
    let twice = |found: &mut ClusterLoadAssignment| {
        let groups = &mut found.endpoints;
        groups.push(groups[0].clone());
    };
    assert_eq!(refused(twice), "endpoints");
    let nowhere = |found: &mut ClusterLoadAssignment| {
        found.endpoints[0].lb_endpoints[1].host_identifier = None;
    };
    assert_eq!(refused(nowhere), "endpoints[0].lb_endpoints[1].endpoint");
    let labelled = |found: &mut ClusterLoadAssignment| {
        let fields = [("version".to_owned(), number(1.0))].into();
        let labels = ("envoy.lb".to_owned(), Struct { fields });
        found.endpoints[0].lb_endpoints[0].metadata = Some(Metadata {
            filter_metadata: [labels].into(),
            ..Default::default()
        });
    };
    assert_eq!(
        refused(labelled),
        "endpoints[0].lb_endpoints[0].metadata.filter_metadata[envoy.lb].version"
    );
}

fn limited() -> Inbound {
    let bucket = TokenBucket {
        max_tokens: 1,
        tokens_per_fill: 1,
        fill_interval: SECOND,
    };
    let limit = |name: &str, key| RateLimit {
        name: name.to_owned(),
        principals: Vec::new(),
        paths: Vec::new(),
        key,
        token_bucket: bucket.clone(),
    };
    Inbound {
        service: "orders".to_owned(),
        rate_limits: vec![
            limit("all", RateLimitKey::All),
            limit("each", RateLimitKey::Caller),
        ],
        adaptive_concurrency: Some(AdaptiveConcurrency::default()),
        ..Inbound::default()
    }
}

/// The filters are deny, allow, rate limit, adaptive concurrency, router.
fn with_filters(change: impl FnOnce(&mut Vec<HttpFilter>)) -> Result<decode::Listener, Invalid> {
    let any = changed::<Listener>(encode::inbound_listener(&limited()), |listener| {
        let filter = &mut listener.filter_chains[0].filters[0];
        let Some(ConfigType::TypedConfig(config)) = filter.config_type.take() else {
            panic!("{filter:?}");
        };
        let config = changed::<HttpConnectionManager>(config, |manager| {
            change(&mut manager.http_filters);
        });
        filter.config_type = Some(ConfigType::TypedConfig(config));
    });
    decode::listener(&any)
}

fn with_filter<M: Message + Default>(at: usize, change: fn(&mut M)) -> String {
    let error = with_filters(|filters| {
        let Some(http_filter::ConfigType::TypedConfig(config)) = filters[at].config_type.take()
        else {
            panic!("{filters:?}");
        };
        let config = changed(config, change);
        filters[at].config_type = Some(http_filter::ConfigType::TypedConfig(config));
    })
    .unwrap_err();
    let prefix = "filter_chains[0].filters[0].typed_config";
    let path = error.path.strip_prefix(prefix).unwrap_or(&error.path);
    path.trim_start_matches('.').to_owned()
}

#[test]
fn listeners_whose_rules_would_be_lost() {
    with_filters(|_| {}).unwrap();
    let no_allow = with_filters(|filters| drop(filters.remove(1)));
    assert!(no_allow.unwrap_err().reason.contains("ALLOW"));
    let wasm = |is_optional| {
        with_filters(|filters| {
            let wasm = HttpFilter {
                name: "envoy.filters.http.wasm".to_owned(),
                is_optional,
                ..Default::default()
            };
            filters.insert(0, wasm);
        })
    };
    assert!(wasm(false).unwrap_err().path.contains("http_filters[0]"));
    wasm(true).unwrap();
    assert!(with_filters(|filters| drop(filters.pop())).is_err());
    let half_dry = with_filter::<Rbac>(0, |rbac| rbac.shadow_rules = rbac.rules.take());
    assert_eq!(half_dry, "");
    let both = with_filter::<Rbac>(1, |rbac| rbac.shadow_rules = rbac.rules.clone());
    assert_eq!(both, "http_filters[1].typed_config.shadow_rules");
}

#[test]
fn limits_that_would_not_hold() {
    let never = with_filter::<LocalRateLimit>(2, |limit| limit.filter_enforced = None);
    assert_eq!(never, "http_filters[2].typed_config.filter_enforced");
    let per_connection = with_filter::<LocalRateLimit>(2, |limit| {
        limit.local_rate_limit_per_downstream_connection = true;
    });
    assert_eq!(
        per_connection,
        "http_filters[2].typed_config.local_rate_limit_per_downstream_connection"
    );
    let empty = with_filter::<LocalRateLimit>(2, |limit| {
        limit.token_bucket.as_mut().unwrap().max_tokens = 0;
    });
    assert_eq!(
        empty,
        "http_filters[2].typed_config.token_bucket.max_tokens"
    );
    let twice = with_filters(|filters| filters.insert(3, filters[3].clone())).unwrap_err();
    assert!(
        twice.path.ends_with("http_filters[4].typed_config"),
        "{twice}"
    );
    // The list of all limits names one that is in no filter.
    let gone = with_filters(|filters| drop(filters.remove(2))).unwrap_err();
    assert_eq!(gone.path, "metadata.rateLimits[0]");
}

#[test]
fn faults_of_a_whole_listener() {
    let any = changed::<Listener>(encode::listener(&routed()), |listener| {
        let api = listener.api_listener.as_mut().unwrap();
        let config = api.api_listener.take().unwrap();
        api.api_listener = Some(changed::<HttpConnectionManager>(config, |manager| {
            let filter = &mut manager.http_filters[0];
            let Some(http_filter::ConfigType::TypedConfig(config)) = filter.config_type.take()
            else {
                panic!("{filter:?}");
            };
            let config = changed::<HttpFault>(config, |fault| fault.max_active_faults = Some(1));
            filter.config_type = Some(http_filter::ConfigType::TypedConfig(config));
        }));
    });
    let error = decode::listener(&any).unwrap_err();
    assert_eq!(
        error.path,
        "api_listener.api_listener.http_filters[0].typed_config"
    );
}

#[test]
fn another_type_in_the_envelope() {
    let error = decode::cluster(&routes(&target())).unwrap_err();
    assert_eq!(error.path, "@type");
}
