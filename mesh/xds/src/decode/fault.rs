//! Faults that a route injects: the settings of Envoy's fault filter for it.

use prost_types::Any;
use weft_model::dataplane::{Fault, FaultAbort, FaultDelay};

use super::{Invalid, facts::Facts, positive, required, share, unpack, unsupported};
use crate::{
    encode::{FAULT, routes::FIRST_ATTEMPTS},
    proto::envoy::{
        config::route::v3::{FilterConfig, Route},
        extensions::filters::{
            common::fault::v3::fault_delay::FaultDelaySecifier,
            http::fault::v3::{HttpFault, fault_abort::ErrorType},
        },
    },
};

pub(super) fn fault(route: &Route, facts: Facts<'_>) -> Result<Option<Fault>, Invalid> {
    let mut fault = None;
    for (name, config) in &route.typed_per_filter_config {
        let within = |e: Invalid| {
            e.within(format!(
                "typed_per_filter_config[{}]",
                name.escape_default()
            ))
        };
        let Some(config) = unwrapped(config).map_err(within)? else {
            continue;
        };
        if name != FAULT {
            return Err(within(Invalid::new("", "not supported by this data plane")));
        }
        fault = Some(http_fault(&config, facts).map_err(within)?);
    }
    Ok(fault)
}

/// A filter's settings for a route. `None` if they are switched off; an unknown filter that is optional
/// is too.
fn unwrapped(config: &Any) -> Result<Option<Any>, Invalid> {
    if !config
        .type_url
        .ends_with("/envoy.config.route.v3.FilterConfig")
    {
        return Ok(Some(config.clone()));
    }
    let wrapped: FilterConfig = unpack(config)?;
    let inner = required("config", wrapped.config)?;
    let is_known = inner.type_url.ends_with(".HTTPFault");
    let is_off = wrapped.disabled || (wrapped.is_optional && !is_known);
    Ok((!is_off).then_some(inner))
}

fn http_fault(config: &Any, facts: Facts<'_>) -> Result<Fault, Invalid> {
    let found: HttpFault = unpack(config)?;
    unsupported("upstream_cluster", !found.upstream_cluster.is_empty())?;
    unsupported("headers", !found.headers.is_empty())?;
    unsupported("downstream_nodes", !found.downstream_nodes.is_empty())?;
    unsupported("max_active_faults", found.max_active_faults.is_some())?;
    unsupported("response_rate_limit", found.response_rate_limit.is_some())?;
    let delay = found.delay.as_ref().map(|delay| {
        let Some(FaultDelaySecifier::FixedDelay(wait)) = &delay.fault_delay_secifier else {
            return Err(Invalid::new("delay", "only `fixed_delay` is supported"));
        };
        Ok(FaultDelay {
            fixed_delay: positive("delay.fixed_delay", Some(wait), Default::default())?,
            share_per_100_000: share("delay.percentage", delay.percentage.as_ref())?,
        })
    });
    let abort = found.abort.as_ref().map(|abort| {
        let Some(ErrorType::GrpcStatus(status @ 1..=16)) = abort.error_type else {
            let reason = "only `grpc_status` from 1 to 16 is supported";
            return Err(Invalid::new("abort.error_type", reason));
        };
        Ok(FaultAbort {
            grpc_status: i32::try_from(status).unwrap_or(2),
            share_per_100_000: share("abort.percentage", abort.percentage.as_ref())?,
            first_attempts: facts.number(FIRST_ATTEMPTS)?,
        })
    });
    Ok(Fault {
        delay: delay.transpose()?,
        abort: abort.transpose()?,
    })
}
