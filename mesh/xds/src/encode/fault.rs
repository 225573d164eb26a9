//! Faults, as the settings of Envoy's fault filter.

use weft_model::dataplane::Fault;

use super::{duration, fraction};
use crate::proto::envoy::extensions::filters::{
    common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier},
    http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
};

pub(super) fn fault(fault: &Fault) -> HttpFault {
    HttpFault {
        delay: fault.delay.as_ref().map(|delay| FaultDelay {
            percentage: Some(fraction(delay.share_per_100_000)),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(delay.fixed_delay))),
        }),
        abort: fault.abort.as_ref().map(|abort| FaultAbort {
            percentage: Some(fraction(abort.share_per_100_000)),
            error_type: Some(ErrorType::GrpcStatus(abort.grpc_status.unsigned_abs())),
            ..Default::default()
        }),
        ..Default::default()
    }
}
