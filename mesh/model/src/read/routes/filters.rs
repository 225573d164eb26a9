//! What a rule does to requests and answers besides choosing where they go.

use super::backend_fields;
use crate::{
    dataplane::{Fault, FaultAbort, FaultDelay, HeaderChanges},
    decode::Decoder,
    mesh::{MirrorRef, RouteEntry},
    problem::Problem,
    read::{
        behaviour::code,
        headers::{changeable_name, header_value},
    },
    tree::Node,
};

/// All of it.
const EVERYTHING: u32 = 100_000;

#[derive(Clone, Copy)]
enum Kind {
    RequestHeaders,
    ResponseHeaders,
    Mirror,
    Fault,
}

/// The Gateway API's filters, and one for faults.
const KINDS: [(&str, Kind); 4] = [
    ("RequestHeaderModifier", Kind::RequestHeaders),
    ("ResponseHeaderModifier", Kind::ResponseHeaders),
    ("RequestMirror", Kind::Mirror),
    ("Fault", Kind::Fault),
];

/// Reads the filters into `rule`. Each kind but mirrors comes once at most, as in the Gateway API.
pub(super) fn read(decoder: &mut Decoder, list: &Node, rule: &mut RouteEntry) {
    let mut seen = [false; KINDS.len()];
    for node in decoder.list(list, "`filters`") {
        let mut fields = decoder.fields(node, "the filter");
        let kind = fields
            .require(decoder, "type")
            .and_then(|node| decoder.choice(node, "the `type` of a filter", &KINDS));
        let Some(kind) = kind else { continue };
        let again = std::mem::replace(&mut seen[kind as usize], true);
        if again && !matches!(kind, Kind::Mirror) {
            let message = format!("two filters of the type `{}`", KINDS[kind as usize].0);
            decoder.report(Problem::new("duplicate-name", node.span, message));
        }
        match kind {
            Kind::RequestHeaders => {
                if let Some(node) = fields.require(decoder, "requestHeaderModifier") {
                    rule.request_headers = header_changes(decoder, node);
                }
            }
            Kind::ResponseHeaders => {
                if let Some(node) = fields.require(decoder, "responseHeaderModifier") {
                    rule.response_headers = header_changes(decoder, node);
                }
            }
            Kind::Mirror => {
                let mirror = fields
                    .require(decoder, "requestMirror")
                    .and_then(|node| mirror(decoder, node));
                rule.mirrors.extend(mirror);
            }
            Kind::Fault => {
                if let Some(node) = fields.require(decoder, "fault") {
                    rule.fault = Some(fault(decoder, node));
                }
            }
        }
        fields.finish(decoder);
    }
}

fn header_changes(decoder: &mut Decoder, node: &Node) -> HeaderChanges {
    let mut fields = decoder.fields(node, "the header changes");
    let mut pairs = |key| match fields.take(key) {
        Some(list) => pairs(decoder, list, key),
        None => Vec::new(),
    };
    let (set, add) = (pairs("set"), pairs("add"));
    let remove = fields.take("remove").map(|list| {
        let items = decoder.list(list, "`remove`");
        items
            .iter()
            .filter_map(|node| changeable_name(decoder, node, "`remove`"))
            .map(|name| name.value)
            .collect()
    });
    fields.finish(decoder);
    HeaderChanges {
        set,
        add,
        remove: remove.unwrap_or_default(),
    }
}

fn pairs(decoder: &mut Decoder, list: &Node, what: &str) -> Vec<(String, String)> {
    let items = decoder.list(list, &format!("`{what}`"));
    items
        .iter()
        .filter_map(|node| {
            let mut fields = decoder.fields(node, "the header");
            let name = fields
                .require(decoder, "name")
                .and_then(|node| changeable_name(decoder, node, "`name`"));
            let value = fields
                .require(decoder, "value")
                .and_then(|node| header_value(decoder, node));
            fields.finish(decoder);
            Some((name?.value, value?))
        })
        .collect()
}

fn mirror(decoder: &mut Decoder, node: &Node) -> Option<MirrorRef> {
    let mut fields = decoder.fields(node, "`requestMirror`");
    let backend = fields.require(decoder, "backendRef").and_then(|node| {
        let fields = decoder.fields(node, "`backendRef`");
        backend_fields(decoder, fields)
    });
    let percent = fields.take("percent");
    let fraction = fields.take("fraction");
    let share = match (percent, fraction) {
        (Some(_), Some(node)) => {
            let message = "a mirror has `percent` or `fraction`, never both";
            decoder.report(Problem::new("wrong-value", node.span, message));
            None
        }
        (Some(node), None) => decoder.percentage(node, "`percent`"),
        (None, Some(node)) => fraction_of(decoder, node),
        (None, None) => Some(EVERYTHING),
    };
    fields.finish(decoder);
    Some(MirrorRef {
        backend: backend?,
        share_per_100_000: share?,
    })
}

/// The Gateway API's fraction: `denominator` is 100 unless given.
fn fraction_of(decoder: &mut Decoder, node: &Node) -> Option<u32> {
    let mut fields = decoder.fields(node, "`fraction`");
    let numerator = fields
        .require(decoder, "numerator")
        .and_then(|node| decoder.count(node, "`numerator`", 1..=1_000_000));
    let denominator = fields.count(decoder, "denominator", 1..=1_000_000, 100);
    let span = fields.span;
    fields.finish(decoder);
    let numerator = numerator?;
    let share = u64::from(numerator) * u64::from(EVERYTHING) / u64::from(denominator);
    if numerator > denominator || share == 0 {
        let message = format!("{numerator}/{denominator} must be at least 1/100000 and at most 1");
        decoder.report(Problem::new("out-of-range", span, message));
        return None;
    }
    u32::try_from(share).ok()
}

/// Envoy's `fault`, with status codes by name.
fn fault(decoder: &mut Decoder, node: &Node) -> Fault {
    let mut fields = decoder.fields(node, "`fault`");
    if !fields.is_broken() && !fields.has("delay") && !fields.has("abort") {
        let message = "`fault` has neither `delay` nor `abort`";
        decoder.report(Problem::new("missing-key", fields.span, message));
    }
    let delay = fields.take("delay").and_then(|node| {
        let mut fields = decoder.fields(node, "`delay`");
        let delay = fields
            .require(decoder, "fixedDelay")
            .and_then(|node| decoder.duration(node, "`fixedDelay`"));
        let share = share(decoder, fields.take("percentage"));
        fields.finish(decoder);
        Some(FaultDelay {
            fixed_delay: delay?.value,
            share_per_100_000: share?,
        })
    });
    let abort = fields.take("abort").and_then(|node| {
        let mut fields = decoder.fields(node, "`abort`");
        let status = fields
            .require(decoder, "grpcStatus")
            .and_then(|node| code(decoder, node, "`grpcStatus`"));
        let share = share(decoder, fields.take("percentage"));
        let first = fields
            .take("firstAttempts")
            .and_then(|node| decoder.count(node, "`firstAttempts`", 1..=5));
        fields.finish(decoder);
        Some(FaultAbort {
            grpc_status: status?,
            share_per_100_000: share?,
            first_attempts: first,
        })
    });
    fields.finish(decoder);
    Fault { delay, abort }
}

fn share(decoder: &mut Decoder, node: Option<&Node>) -> Option<u32> {
    match node {
        Some(node) => decoder.percentage(node, "`percentage`"),
        None => Some(EVERYTHING),
    }
}
