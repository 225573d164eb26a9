//! Listeners: a name that callers dial, or the caller rules before a workload.

use prost_types::Any;
use weft_model::dataplane::Inbound;

use super::{
    Invalid, Listener, from_this_stream, limits, named, rbac, required, unpack, unpack_field,
};
use crate::{
    encode::{FAULT, ROUTER, inbound_service},
    proto::envoy::{
        config::listener::v3::{self as wire, filter},
        extensions::filters::{
            http::fault::v3::HttpFault,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
                http_filter,
            },
        },
    },
};

/// What a data plane of ours carries out on the way out, and on the way in.
const OUTBOUND: [&str; 1] = ["/envoy.extensions.filters.http.fault.v3.HTTPFault"];
const RBAC: &str = "/envoy.extensions.filters.http.rbac.v3.RBAC";
const INBOUND: [&str; 3] = [RBAC, limits::RATE_LIMIT, limits::ADAPTIVE_CONCURRENCY];

/// Reads a listener.
///
/// # Errors
/// On what this data plane does not carry out, such as an HTTP filter that is not optional.
pub fn listener(any: &Any) -> Result<Listener, Invalid> {
    let found: wire::Listener = unpack(any)?;
    let name = named("name", found.name.clone())?;
    match &found.api_listener {
        Some(api) => outbound(name, api).map_err(|e| e.within("api_listener.api_listener")),
        None => inbound(&name, &found),
    }
}

fn outbound(authority: String, api: &wire::ApiListener) -> Result<Listener, Invalid> {
    let manager: HttpConnectionManager = unpack(required("", api.api_listener.as_ref())?)?;
    let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
        return Err(Invalid::new("rds", "required; routes come by RDS"));
    };
    from_this_stream("rds.config_source", rds.config_source.as_ref())?;
    for (at, config) in checked_filters(&manager.http_filters, &OUTBOUND)? {
        // Routes say what it does: by itself it must do nothing.
        let fault: HttpFault = unpack(config).map_err(|e| e.within(place(at)))?;
        if fault != HttpFault::default() {
            let reason = format!("`{FAULT}` must be empty here; faults are a matter of routes");
            return Err(Invalid::new(place(at), reason));
        }
    }
    Ok(Listener::Outbound {
        authority,
        routes: named("rds.route_config_name", rds.route_config_name.clone())?,
    })
}

fn inbound(name: &str, found: &wire::Listener) -> Result<Listener, Invalid> {
    let service = inbound_service(name).ok_or_else(|| {
        Invalid::new(
            "api_listener",
            "required in a listener that is not `inbound/SERVICE`",
        )
    })?;
    let [chain] = found.filter_chains.as_slice() else {
        return Err(Invalid::new("filter_chains", "exactly one is supported"));
    };
    let [network] = chain.filters.as_slice() else {
        return Err(Invalid::new(
            "filter_chains[0].filters",
            "exactly one is supported",
        ));
    };
    let path = "filter_chains[0].filters[0].typed_config";
    let config = match &network.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    };
    let manager: HttpConnectionManager = unpack_field(path, config)?;
    let mut rules = Inbound {
        service: service.to_owned(),
        ..Inbound::default()
    };
    let mut decides = false;
    let mut dry_runs = Vec::new();
    for (at, config) in
        checked_filters(&manager.http_filters, &INBOUND).map_err(|e| e.within(path))?
    {
        let within = |e: Invalid| e.within(place(at)).within(path);
        if config.type_url.ends_with(RBAC) {
            let added = rbac::add_rules(config, &mut rules).map_err(within)?;
            decides |= added.decides;
            dry_runs.push(added.is_dry_run);
        } else {
            limits::add_limit(config, &mut rules).map_err(within)?;
        }
    }
    limits::add_facts(found.metadata.as_ref(), &mut rules)?;
    rules.is_dry_run = dry_runs.contains(&true);
    if rules.is_dry_run && dry_runs.contains(&false) {
        let reason = "either all RBAC filters have `shadow_rules` or none";
        return Err(Invalid::new(path, reason));
    }
    if !decides {
        // Without an allow filter Envoy lets everybody in; this data plane never does.
        return Err(Invalid::new(
            path,
            "an RBAC filter with action ALLOW is required",
        ));
    }
    Ok(Listener::Inbound(rules))
}

fn place(at: usize) -> String {
    format!("http_filters[{at}].typed_config")
}

/// The settings of the filters of these types, with their places. The last filter must be the router
/// (gRFC A39); any other must be optional.
fn checked_filters<'a>(
    filters: &'a [HttpFilter],
    known: &[&str],
) -> Result<Vec<(usize, &'a Any)>, Invalid> {
    if filters.last().is_none_or(|last| last.name != ROUTER) {
        return Err(Invalid::new(
            "http_filters",
            format!("the last must be `{ROUTER}`"),
        ));
    }
    let mut found = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        if filter.disabled || filter.name == ROUTER {
            continue;
        }
        let config = match &filter.config_type {
            Some(http_filter::ConfigType::TypedConfig(config)) => Some(config),
            _ => None,
        };
        let is_known = |config: &&Any| known.iter().any(|kind| config.type_url.ends_with(kind));
        match config.filter(is_known) {
            Some(config) => found.push((at, config)),
            None if filter.is_optional => {}
            None => {
                let name = filter.name.escape_default();
                let reason = format!("filter `{name}` is not supported");
                return Err(Invalid::new(format!("http_filters[{at}]"), reason));
            }
        }
    }
    Ok(found)
}
