//! gRPC status codes as numbers, the way they appear in `grpc-status`.

/// The call succeeded.
pub const OK: i32 = 0;
/// The caller gave up.
pub const CANCELLED: i32 = 1;
/// No status came, or one that has no number.
pub const UNKNOWN: i32 = 2;
/// The request makes no sense.
pub const INVALID_ARGUMENT: i32 = 3;
/// The deadline passed.
pub const DEADLINE_EXCEEDED: i32 = 4;
/// No rule allows the caller.
pub const PERMISSION_DENIED: i32 = 7;
/// Nobody has proven who is asking.
pub const UNAUTHENTICATED: i32 = 16;
/// A limit is reached.
pub const RESOURCE_EXHAUSTED: i32 = 8;
/// Nothing of that name exists.
pub const UNIMPLEMENTED: i32 = 12;
/// A bug.
pub const INTERNAL: i32 = 13;
/// Try again.
pub const UNAVAILABLE: i32 = 14;

/// gRPC's table from HTTP statuses, for an answer without a `grpc-status`.
pub fn of_http(status: u16) -> i32 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// gRPC's table from HTTP/2 error codes, for a stream that broke. `None`: its connection did.
pub fn of_reset(error: Option<u32>) -> i32 {
    match error {
        // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR
        Some(0x0..=0x3 | 0x6 | 0x9) => INTERNAL,
        // CANCEL
        Some(0x8) => CANCELLED,
        // ENHANCE_YOUR_CALM
        Some(0xb) => RESOURCE_EXHAUSTED,
        // INADEQUATE_SECURITY
        Some(0xc) => PERMISSION_DENIED,
        _ => UNAVAILABLE,
    }
}

/// The code that a number stands for: what gRPC does not define is [`UNKNOWN`], by its status codes
/// document. Whoever keeps something for each code keeps it for seventeen.
pub fn known(code: i32) -> i32 {
    match code {
        0..=16 => code,
        _ => UNKNOWN,
    }
}

/// The name of a code, `UNAVAILABLE`; numbers beyond the standard are `UNKNOWN`.
pub fn name(code: i32) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}
