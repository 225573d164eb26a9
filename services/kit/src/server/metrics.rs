//! gRPC's own metric names (gRFC A66), for the server side.

use std::{sync::LazyLock, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use tonic::Code;
use weft_runtime::metrics::{CALL_SECONDS, global};

pub(super) static CALLS: LazyLock<Calls> = LazyLock::new(Calls::register);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Started {
    grpc_method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    grpc_method: &'static str,
    grpc_status: &'static str,
}

/// The metrics of all servers in this process.
pub(super) struct Calls {
    started: Family<Started, Counter>,
    seconds: Family<Ended, Histogram, fn() -> Histogram>,
}

impl Calls {
    fn register() -> Self {
        let metrics = global();
        let histogram: fn() -> Histogram = || Histogram::new(CALL_SECONDS);
        Self {
            started: metrics.register(
                "grpc_server_call_started",
                "Calls that arrived.",
                Family::default(),
            ),
            seconds: metrics.register(
                "grpc_server_call_duration_seconds",
                "Time from the arrival of a call to the end of its response.",
                Family::new_with_constructor(histogram),
            ),
        }
    }

    pub(super) fn start(&self, grpc_method: &'static str) {
        self.started.get_or_create(&Started { grpc_method }).inc();
    }

    pub(super) fn end(&self, grpc_method: &'static str, code: Code, took: Duration) {
        let labels = Ended {
            grpc_method,
            grpc_status: code_name(code),
        };
        self.seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}

/// The code as it is written in prose.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
