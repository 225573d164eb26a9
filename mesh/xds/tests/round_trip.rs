//! What the control plane encodes is what a data plane decodes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{net::SocketAddr, time::Duration};

use proptest::{collection::vec, option, prelude::*};
use prost_types::Any;
use weft_model::dataplane::{
    AuthzRule, Endpoint, Inbound, MethodMatch, MethodRule, OutlierDetection, RetryPolicy,
    RetryThrottling, Target,
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

fn retry_policy() -> impl Strategy<Value = RetryPolicy> {
    (
        2..=5_u32,
        millis(1..1000),
        millis(1000..9000),
        1000..9000_u32,
        prop::collection::btree_set(1..=16_i32, 1..6),
    )
        .prop_map(
            |(max_attempts, initial_backoff, max_backoff, multiplier, codes)| RetryPolicy {
                max_attempts,
                initial_backoff,
                max_backoff,
                backoff_multiplier_permille: multiplier,
                retryable_status_codes: codes.into_iter().collect(),
                per_attempt_timeout: None,
            },
        )
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

fn method_rule() -> impl Strategy<Value = MethodRule> {
    (
        method_match(),
        option::of(millis(1..100_000)),
        option::of(retry_policy()),
    )
        .prop_map(|(matches, timeout, retry_policy)| MethodRule {
            matches,
            timeout,
            retry_policy,
            ..MethodRule::default()
        })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<std::net::IpAddr>(), 1..=u16::MAX, name())
        .prop_map(|(ip, port, instance)| Endpoint::new(SocketAddr::new(ip, port), instance))
}

prop_compose! {
    fn target()(
        service in name(),
        port in 1..=u16::MAX,
        methods in vec(method_rule(), 1..8),
        throttling in option::of((1..=1000_u32, 1..1000_u32)),
        outlier in option::of((1..100_u32, millis(1..100_000), 0..=100_u32)),
        endpoints in prop::collection::btree_map(any::<SocketAddr>(), name(), 0..5),
    ) -> Target {
        Target {
            authority: format!("{service}:{port}"),
            identity: format!("spiffe://td.local/ns/shop/sa/{service}"),
            service,
            methods,
            retry_throttling: throttling.map(|(max_tokens, token_ratio_permille)| RetryThrottling {
                max_tokens,
                token_ratio_permille,
            }),
            outlier_detection: outlier.map(|(errors, base, percent)| OutlierDetection {
                consecutive_errors: Some(errors),
                base_ejection_time: base,
                max_ejection_percent: percent,
                ..OutlierDetection::default()
            }),
            endpoints: plain(endpoints),
            ..Target::default()
        }
    }
}

/// IPv6 scopes and flow labels have no place in xDS.
fn plain(endpoints: std::collections::BTreeMap<SocketAddr, String>) -> Vec<Endpoint> {
    let mut plain: Vec<_> = endpoints
        .into_iter()
        .map(|(address, instance)| {
            Endpoint::new(SocketAddr::new(address.ip(), address.port()), instance)
        })
        .collect();
    plain.sort();
    plain.dedup_by_key(|endpoint| endpoint.address);
    plain
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
        vec(pattern("/[a-zA-Z.]{1,9}/[A-Z]{1,5}"), 0..4),
    )
        .prop_map(|(name, principals, paths)| AuthzRule {
            name,
            principals,
            paths,
            ..AuthzRule::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn target_survives(target in target()) {
        let routes = decode::routes(&encode::routes(&target)).unwrap();
        let cluster = decode::cluster(&encode::cluster(&target)).unwrap();
        let any = encode::endpoints(&target.authority, &target.endpoints);
        let endpoints = decode::endpoints(&any).unwrap();
        let listener = decode::listener(&encode::listener(&target)).unwrap();

        let outbound = Listener::Outbound {
            authority: target.authority.clone(),
            routes: routes.name.clone(),
        };
        prop_assert_eq!(listener, outbound);
        prop_assert_eq!(&routes.cluster, &cluster.name);
        prop_assert_eq!(&cluster.endpoints, &endpoints.name);
        let again = Target {
            authority: target.authority.clone(),
            service: routes.service,
            identity: cluster.identity,
            methods: routes.methods,
            retry_throttling: cluster.retry_throttling,
            outlier_detection: cluster.outlier_detection,
            endpoints: endpoints.endpoints,
            ..Target::default()
        };
        prop_assert_eq!(again, target);
    }

    #[test]
    fn endpoints_survive(endpoints in vec(endpoint(), 0..6)) {
        let mut expected: Vec<_> = endpoints;
        expected.sort();
        expected.dedup_by_key(|endpoint| endpoint.address);
        let again = decode::endpoints(&encode::endpoints("a:1", &expected)).unwrap();
        prop_assert_eq!(again.endpoints, expected);
    }

    #[test]
    fn caller_rules_survive(
        service in name(),
        deny_rules in vec(authz_rule(), 0..4),
        allow_rules in vec(authz_rule(), 0..14),
    ) {
        let inbound = Inbound { service, deny_rules, allow_rules, ..Inbound::default() };
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
