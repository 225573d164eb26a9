//! Headers of requests and responses, made fit for the next hop.

use std::{borrow::Cow, time::Duration};

use base64::{
    alphabet::STANDARD,
    engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig},
};
use weft_channel::load;
use weft_http2::{HeaderBlock, Name, Names};
use weft_model::dataplane::HeaderChanges;
use weft_policy::{
    Headers, LoadReport,
    deadline::{TimeoutRoom, write_timeout},
    retry::trace_id,
};

/// gRPC's binary metadata: padding is optional.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Headers as the engines ask for them.
pub(crate) struct Lookup<'a>(pub(crate) &'a HeaderBlock);

impl Headers for Lookup<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.0.values_by_name(name.as_bytes());
        let first = Cow::Borrowed(std::str::from_utf8(values.next()?).ok()?);
        values.try_fold(first, |all, next| {
            let next = std::str::from_utf8(next).ok()?;
            Some(Cow::Owned(format!("{all},{next}")))
        })
    }
}

/// A header's value as text.
pub(crate) fn text(block: &HeaderBlock, name: Name) -> Option<&str> {
    std::str::from_utf8(block.get(name)?).ok()
}

/// The trace a request belongs to.
pub(crate) fn trace(block: &HeaderBlock) -> Option<u128> {
    trace_id(text(block, Name::Traceparent)?)
}

/// What a request must not carry to the next hop: claims about who sent it, and what HTTP/2 does
/// without. `x-weft-subject` and `x-weft-criticality` stay: only workloads of the mesh reach a sidecar,
/// and a workload acts for the user it serves.
const NOT_IN_REQUESTS: Names = Names::of([
    Name::Host,
    Name::ContentLength,
    Name::XForwardedClientCert,
    Name::XWeftCaller,
    Name::XWeftUnprocessed,
    Name::XWeftDecisionId,
]);

/// What an answer must not carry to the hop before.
const NOT_IN_ANSWERS: Names = Names::of([
    Name::ContentLength,
    Name::XWeftCaller,
    Name::XWeftSubject,
    Name::XWeftCriticality,
    Name::XWeftUnprocessed,
    Name::XWeftDecisionId,
]);

pub(crate) fn clean_request(block: &mut HeaderBlock) {
    block.remove_all(NOT_IN_REQUESTS);
    remove_unknown_of_ours(block);
    if block.get(Name::Te) != Some(b"trailers") {
        block.set(Name::Te, b"trailers");
    }
}

/// How the request is carried. What leaves the mesh tells nobody there for whom it is, and how much it
/// matters.
pub(crate) fn set_scheme(block: &mut HeaderBlock, is_cleartext: bool) {
    if is_cleartext {
        block.remove(Name::XWeftSubject);
        block.remove(Name::XWeftCriticality);
    }
    block.set(Name::Scheme, if is_cleartext { b"http" } else { b"https" });
}

pub(crate) fn clean_response(block: &mut HeaderBlock) {
    block.remove_all(NOT_IN_ANSWERS);
    remove_unknown_of_ours(block);
}

fn remove_unknown_of_ours(block: &mut HeaderBlock) {
    let is_ours = |name: Name, bytes: &[u8]| name == Name::Other && bytes.starts_with(b"x-weft-");
    if block.contains(Name::Other)
        && block
            .iter()
            .any(|field| is_ours(field.name, field.name_bytes))
    {
        block.retain(|field| !is_ours(field.name, field.name_bytes));
    }
}

/// The time that is left, for the next hop. Never more than there was.
pub(crate) fn set_timeout(block: &mut HeaderBlock, left: Option<Duration>) {
    match left {
        Some(left) => {
            let mut room = TimeoutRoom::default();
            block.set(Name::GrpcTimeout, write_timeout(left, &mut room));
        }
        None => {
            block.remove(Name::GrpcTimeout);
        }
    }
}

/// What a route rule wants changed.
pub(crate) fn change(block: &mut HeaderBlock, changes: &HeaderChanges) {
    for name in &changes.remove {
        block.remove_by_name(name.as_bytes());
    }
    for (name, value) in &changes.set {
        block.set_by_name(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in &changes.add {
        block.push_by_name(name.as_bytes(), value.as_bytes());
    }
}

/// The number in `grpc-status`, if there is one.
pub(crate) fn grpc_status(block: &HeaderBlock) -> Option<i32> {
    match block.get(Name::GrpcStatus)? {
        [digit @ b'0'..=b'9'] => Some(i32::from(digit - b'0')),
        other => std::str::from_utf8(other).ok()?.parse().ok(),
    }
}

/// What an endpoint says of its load. `None` if it says nothing that can be read.
pub(crate) fn load_report(block: &HeaderBlock) -> Option<LoadReport> {
    match block.get(Name::EndpointLoadMetricsBin) {
        Some(encoded) => load::parse_binary(&LENIENT.decode(encoded).ok()?),
        None => load::parse_text(text(block, Name::EndpointLoadMetrics)?),
    }
}

/// The HTTP status for a method other than POST.
pub(crate) const METHOD_NOT_ALLOWED: &str = "405";

/// Whether this is a request that a gRPC client sends; else the HTTP status it is answered with.
pub(crate) fn refused_as(block: &HeaderBlock) -> Option<&'static str> {
    if block.get(Name::Method) != Some(b"POST") {
        return Some(METHOD_NOT_ALLOWED);
    }
    let content_type = block.get(Name::ContentType).unwrap_or_default();
    (!content_type.starts_with(b"application/grpc")).then_some("415")
}
