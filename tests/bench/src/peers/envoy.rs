//! Envoy: one worker, retries, the caller's deadline, metrics by method as our sidecar has them, who may
//! call what; no access log, no limits within the loads, otherwise its defaults.

use serde_json::{Value, json};

use super::{Side, Stand};
use crate::certificates::{CLIENT_ID, SERVER_ID, SERVER_NAME};

/// What the callers may call, as in the shop's mesh file.
const SERVICE: &str = "/sockshop.catalogue.v1.CatalogueService/";

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Writes the configuration.
pub fn arguments(stand: &Stand<'_>) -> anyhow::Result<Vec<String>> {
    let config = json!({ "static_resources": { "listeners": [listener(stand)], "clusters": [cluster(stand)] } });
    let path = stand.write("json", &serde_json::to_string_pretty(&config)?)?;
    let args = [
        "-c",
        &path,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "warning",
    ];
    Ok(args.map(str::to_owned).to_vec())
}

fn listener(stand: &Stand<'_>) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{
                "match": { "prefix": "/" },
                "route": {
                    "cluster": "upstream",
                    "max_stream_duration": { "grpc_timeout_header_max": "10s" },
                    "retry_policy": { "retry_on": "unavailable,reset-before-request", "num_retries": 2 },
                },
            }],
        }] },
        "http_filters": filters(stand.tls == Some(Side::Downstream)),
    });
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
    }] });
    if stand.tls == Some(Side::Downstream) {
        chain["transport_socket"] = json!({ "name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": common(stand, "server", CLIENT_ID),
        } });
    }
    json!({ "name": "listener", "address": address(stand.listen), "filter_chains": [chain] })
}

/// Who calls is known where the caller's certificate is.
fn filters(knows_caller: bool) -> Vec<Value> {
    let filter = |name: &str, kind: &str, mut config: Value| {
        config["@type"] =
            format!("type.googleapis.com/envoy.extensions.filters.http.{kind}").into();
        json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
    };
    let stats = json!({ "stats_for_all_methods": true, "enable_upstream_stats": true });
    let mut filters = vec![filter("grpc_stats", "grpc_stats.v3.FilterConfig", stats)];
    if knows_caller {
        let callers = json!({ "rules": { "policies": { "orders": {
            "principals": [{ "authenticated": { "principal_name": { "exact": CLIENT_ID } } }],
            "permissions": [{ "url_path": { "path": { "prefix": SERVICE } } }],
        } } } });
        filters.push(filter("rbac", "rbac.v3.RBAC", callers));
    }
    filters.push(filter("router", "router.v3.Router", json!({})));
    filters
}

fn cluster(stand: &Stand<'_>) -> Value {
    let mut cluster = json!({
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        // Its defaults refuse calls of the larger loads.
        "circuit_breakers": { "thresholds": [{
            "max_connections": 10_000, "max_pending_requests": 10_000,
            "max_requests": 10_000, "max_retries": 100,
        }] },
        "typed_extension_protocol_options": { HTTP_OPTIONS: {
            "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(stand.upstream) } }] }],
        },
    });
    if stand.tls == Some(Side::Upstream) {
        cluster["transport_socket"] = json!({ "name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": SERVER_NAME,
            "common_tls_context": common(stand, "client", SERVER_ID),
        } });
    }
    cluster
}

fn common(stand: &Stand<'_>, own: &str, peer: &str) -> Value {
    let file = |name: String| json!({ "filename": stand.certificate(&name) });
    json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "alpn_protocols": ["h2"],
        "tls_certificates": [{
            "certificate_chain": file(format!("{own}.pem")),
            "private_key": file(format!("{own}.key")),
        }],
        "validation_context": {
            "trusted_ca": file("ca.pem".to_owned()),
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": peer } }],
        },
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
