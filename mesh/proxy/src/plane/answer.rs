//! Answers in the mesh's own name, as header blocks.

use std::time::Duration;

use weft_channel::status as grpc;
use weft_http2::{Connection, HeaderBlock, Name, StreamId};
use weft_policy::{DecisionRecord, Failure, RateLimitStatus, Refusal, RetryAdvice};

use super::{head, kind::Token};

/// What somebody is told who does not speak gRPC.
const WHY: &[u8] = b"a sidecar carries gRPC calls only\n";

/// A trailers-only answer: HTTP 200 and the status in one header block.
pub(crate) fn trailers_only(block: &mut HeaderBlock, failure: &Failure, record: &DecisionRecord) {
    block.push(Name::Status, b"200");
    block.push(Name::ContentType, b"application/grpc");
    status(block, failure, record);
}

/// The same status as trailers, for an answer that has begun.
pub(crate) fn status(block: &mut HeaderBlock, failure: &Failure, record: &DecisionRecord) {
    for (name, value) in &grpc::trailers(failure, record) {
        block.push_by_name(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Between our proxies only: the request provably never reached the workload.
pub(crate) fn unprocessed(block: &mut HeaderBlock) {
    block.set(Name::XWeftUnprocessed, b"1");
}

/// What a refused caller is told about trying again.
pub(crate) fn advice(block: &mut HeaderBlock, refusal: &Refusal) {
    match refusal.retry {
        Some(RetryAdvice::After(wait)) => {
            let millis = wait.as_millis().to_string();
            block.set(Name::GrpcRetryPushbackMs, millis.as_bytes());
            block.set(Name::RetryAfter, seconds(wait).as_bytes());
        }
        Some(RetryAdvice::Never) => block.set(Name::GrpcRetryPushbackMs, b"-1"),
        None => {}
    }
    if let Some(status) = &refusal.rate_limit {
        rate_limit(block, status);
    }
}

/// `RateLimit-*`, as the IETF draft has them.
pub(crate) fn rate_limit(block: &mut HeaderBlock, status: &RateLimitStatus) {
    block.set(Name::RatelimitLimit, status.limit.to_string().as_bytes());
    block.set(
        Name::RatelimitRemaining,
        status.remaining.to_string().as_bytes(),
    );
    block.set(Name::RatelimitReset, seconds(status.reset).as_bytes());
}

/// Whole seconds, rounded up: who waits so long has waited long enough.
fn seconds(wait: Duration) -> String {
    wait.as_nanos().div_ceil(1_000_000_000).to_string()
}

/// Answers what no gRPC client sends with an HTTP status, as gRPC's protocol wants.
pub(crate) fn other_than_grpc(
    h2: &mut Connection<Token>,
    stream: StreamId,
    request: &HeaderBlock,
    status: &str,
) {
    let mut block = HeaderBlock::new();
    block.push(Name::Status, status.as_bytes());
    block.push(Name::ContentType, b"text/plain; charset=utf-8");
    if status == head::METHOD_NOT_ALLOWED {
        block.push_by_name(b"allow", b"POST");
    }
    // Nobody waits for a window here: who has none, or asked for the header alone, gets the header alone.
    let is_told = request.get(Name::Method) != Some(b"HEAD") && h2.send_window(stream) >= WHY.len();
    h2.send_headers(stream, &block, !is_told);
    if is_told {
        h2.send_data(stream, WHY, true);
    }
    h2.release(stream);
}

/// Answers a request about which nothing is known that could be accounted for.
pub(crate) fn without_call(h2: &mut Connection<Token>, stream: StreamId, failure: &Failure) {
    let mut block = HeaderBlock::new();
    trailers_only(&mut block, failure, &DecisionRecord::default());
    h2.send_headers(stream, &block, true);
    h2.release(stream);
}
