//! Names of headers, and which of them a mesh file may change.

use crate::{decode::Decoder, problem::Problem, span::Spanned, tree::Node};

/// What belongs to one connection, or to HTTP/2 itself (RFC 9110, section 7.6.1; RFC 9113, 8.2.2).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What gRPC and the mesh live by.
const OWN: [&str; 2] = ["content-type", "content-length"];
const OWN_PREFIXES: [&str; 2] = ["grpc-", "x-weft-"];

/// A header's name in lower case, as HTTP/2 sends it.
pub(super) fn header_name(
    decoder: &mut Decoder,
    node: &Node,
    what: &str,
) -> Option<Spanned<String>> {
    let name = decoder.text(node, what)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(is_token) {
        let message = format!("`{}` is not the name of a header", name.value);
        let problem = Problem::new("wrong-name", name.span, message);
        decoder.report(match name.starts_with(':') {
            true => problem.hint("pseudo-headers belong to HTTP/2; match the method instead"),
            false => problem.hint("letters, digits and `-`, such as `x-tenant`"),
        });
        return None;
    }
    Some(name.map(|name| name.to_ascii_lowercase()))
}

/// Whether the header belongs to the connection.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// As [`header_name`], for a header that a route may set, add or remove.
pub(super) fn changeable_name(
    decoder: &mut Decoder,
    node: &Node,
    what: &str,
) -> Option<Spanned<String>> {
    let name = header_name(decoder, node, what)?;
    let is_own =
        OWN.contains(&name.as_str()) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if !is_own && !is_hop_by_hop(&name) {
        return Some(name);
    }
    let message = format!("the header `{}` cannot be changed", name.value);
    let problem = Problem::new("wrong-name", name.span, message);
    decoder.report(match is_own {
        true => problem.hint("gRPC and the mesh depend on it"),
        false => problem.hint("it belongs to the connection"),
    });
    None
}

/// What a header is set to: visible ASCII and blanks inside.
pub(super) fn header_value(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let value = decoder.text(node, "`value`")?;
    let inside = value.bytes().all(|b| matches!(b, b' '..=b'~'));
    if !inside || value.trim() != value.value {
        let message = format!("{:?} cannot be the value of a header", value.value);
        let problem = Problem::new("wrong-value", value.span, message);
        decoder.report(problem.hint("visible ASCII, blanks only inside"));
        return None;
    }
    Some(value.value)
}
