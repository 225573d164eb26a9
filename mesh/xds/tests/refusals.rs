//! What this data plane would not carry out is refused, with the path of the field.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use prost::Message;
use prost_types::Any;
use weft_model::dataplane::{Inbound, MethodRule, Target};
use weft_xds::{
    decode, encode,
    proto::envoy::{
        config::{
            cluster::v3::Cluster,
            listener::v3::Listener,
            route::v3::{
                HeaderMatcher, RetryPolicy, RouteConfiguration, WeightedCluster, route::Action,
                route_action::ClusterSpecifier,
            },
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, HttpFilter,
        },
    },
};

fn target() -> Target {
    Target {
        authority: "orders:7070".to_owned(),
        service: "orders".to_owned(),
        identity: "spiffe://td/ns/shop/sa/orders".to_owned(),
        methods: vec![MethodRule {
            ..MethodRule::default()
        }],
        ..Target::default()
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

fn route(change: impl FnOnce(&mut weft_xds::proto::envoy::config::route::v3::Route)) -> String {
    let any = changed::<RouteConfiguration>(encode::routes(&target()), |routes| {
        change(&mut routes.virtual_hosts[0].routes[0]);
    });
    decode::routes(&any).unwrap_err().to_string()
}

#[test]
fn header_match() {
    let error = route(|route| {
        route
            .r#match
            .as_mut()
            .unwrap()
            .headers
            .push(HeaderMatcher::default());
    });
    assert_eq!(
        error,
        "virtual_hosts[0].routes[0].match.headers: not supported by this data plane"
    );
}

#[test]
fn weighted_clusters_and_unknown_retry_conditions() {
    let error = route(|route| {
        let Some(Action::Route(action)) = &mut route.action else {
            panic!("{route:?}");
        };
        let split = WeightedCluster::default();
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(split));
    });
    assert!(
        error.starts_with("virtual_hosts[0].routes[0].route.cluster_specifier:"),
        "{error}"
    );

    let error = route(|route| {
        let Some(Action::Route(action)) = &mut route.action else {
            panic!("{route:?}");
        };
        action.retry_policy = Some(RetryPolicy {
            retry_on: "unavailable,5xx".to_owned(),
            ..Default::default()
        });
    });
    assert_eq!(
        error,
        "virtual_hosts[0].routes[0].route.retry_policy.retry_on: `5xx` is not supported"
    );
}

#[test]
fn cluster_without_mutual_tls() {
    let any = changed::<Cluster>(encode::cluster(&target()), |cluster| {
        cluster.transport_socket = None;
    });
    let error = decode::cluster(&any).unwrap_err();
    assert_eq!(error.path, "transport_socket");
}

#[test]
fn listener_whose_rules_would_be_lost() {
    let rules = Inbound {
        service: "orders".to_owned(),
        ..Inbound::default()
    };
    let with_filters = |filters: fn(&mut Vec<HttpFilter>)| {
        let any = changed::<Listener>(encode::inbound_listener(&rules), |listener| {
            use weft_xds::proto::envoy::config::listener::v3::filter::ConfigType;
            let filter = &mut listener.filter_chains[0].filters[0];
            let Some(ConfigType::TypedConfig(config)) = filter.config_type.take() else {
                panic!("{filter:?}");
            };
            let config = changed::<HttpConnectionManager>(config, |manager| {
                filters(&mut manager.http_filters);
            });
            filter.config_type = Some(ConfigType::TypedConfig(config));
        });
        decode::listener(&any)
    };
    with_filters(|_| {}).unwrap();
    let no_allow = with_filters(|filters| {
        filters.remove(1);
    });
    assert!(no_allow.unwrap_err().reason.contains("ALLOW"));
    let required = with_filters(|filters| {
        filters.insert(
            0,
            HttpFilter {
                name: "envoy.filters.http.wasm".to_owned(),
                ..Default::default()
            },
        )
    });
    assert!(required.unwrap_err().path.contains("http_filters[0]"));
    with_filters(|filters| {
        filters.insert(
            0,
            HttpFilter {
                name: "envoy.filters.http.wasm".to_owned(),
                is_optional: true,
                ..Default::default()
            },
        )
    })
    .unwrap();
    let no_router = with_filters(|filters| {
        filters.pop();
    });
    assert!(no_router.is_err());
}

#[test]
fn another_type_in_the_envelope() {
    let error = decode::cluster(&encode::routes(&target())).unwrap_err();
    assert_eq!(error.path, "@type");
}
