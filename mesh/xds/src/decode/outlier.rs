//! Passive health.

use std::time::Duration;

use weft_model::dataplane::{FailurePercentage, OutlierDetection, SuccessRate};

use super::{Invalid, positive, unsupported};
use crate::proto::envoy::config::cluster::v3 as wire;

/// Envoy's defaults.
const CONSECUTIVE: u32 = 5;
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn outlier_detection(
    settings: &wire::OutlierDetection,
) -> Result<OutlierDetection, Invalid> {
    unsupported(
        "split_external_local_origin_errors",
        settings.split_external_local_origin_errors,
    )?;
    unsupported("monitors", !settings.monitors.is_empty())?;
    let is_on =
        |path: &str, enforcing: Option<u32>, default: u32| match enforcing.unwrap_or(default) {
            0 => Ok(false),
            100 => Ok(true),
            _ => Err(Invalid::new(path, "only 0 and 100 are supported")),
        };
    let any = is_on(
        "enforcing_consecutive_5xx",
        settings.enforcing_consecutive_5xx,
        100,
    )?;
    let gateway = is_on(
        "enforcing_consecutive_gateway_failure",
        settings.enforcing_consecutive_gateway_failure,
        0,
    )?;
    // This data plane counts the gateway's failures only: that is what both have in common.
    let consecutive = [
        any.then(|| settings.consecutive_5xx.unwrap_or(CONSECUTIVE)),
        gateway.then(|| settings.consecutive_gateway_failure.unwrap_or(CONSECUTIVE)),
    ];
    let success_rate = is_on(
        "enforcing_success_rate",
        settings.enforcing_success_rate,
        100,
    )?;
    let failures = is_on(
        "enforcing_failure_percentage",
        settings.enforcing_failure_percentage,
        0,
    )?;
    let percentage = |path: &str, value: Option<u32>, default| match value.unwrap_or(default) {
        value @ 0..=100 => Ok(value),
        _ => Err(Invalid::new(path, "above 100")),
    };
    let threshold = percentage(
        "failure_percentage_threshold",
        settings.failure_percentage_threshold,
        85,
    )?;
    let time = |path: &str, value: &Option<prost_types::Duration>, default| {
        positive(path, value.as_ref(), default)
    };
    let seconds = Duration::from_secs;
    let base = time(
        "base_ejection_time",
        &settings.base_ejection_time,
        seconds(30),
    )?;
    Ok(OutlierDetection {
        consecutive_errors: consecutive.into_iter().flatten().min(),
        interval: time("interval", &settings.interval, seconds(10))?,
        base_ejection_time: base,
        max_ejection_time: time(
            "max_ejection_time",
            &settings.max_ejection_time,
            LONGEST.max(base),
        )?,
        max_ejection_percent: percentage(
            "max_ejection_percent",
            settings.max_ejection_percent,
            10,
        )?,
        failure_percentage: failures.then(|| FailurePercentage {
            threshold,
            minimum_hosts: settings.failure_percentage_minimum_hosts.unwrap_or(5),
            request_volume: settings.failure_percentage_request_volume.unwrap_or(50),
        }),
        success_rate: success_rate.then(|| SuccessRate {
            stdev_factor_permille: settings.success_rate_stdev_factor.unwrap_or(1900),
            minimum_hosts: settings.success_rate_minimum_hosts.unwrap_or(5),
            request_volume: settings.success_rate_request_volume.unwrap_or(100),
        }),
    })
}
