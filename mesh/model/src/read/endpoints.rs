//! Where a service is: subsets, labels, localities, listed endpoints, names.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use super::label;
use crate::{
    dataplane::{DnsName, Endpoint, Locality, is_label_key, is_label_value},
    decode::{Decoder, Fields},
    mesh::EndpointSource,
    problem::Problem,
    tree::Node,
};

const MAX_PRIORITY: u32 = 127;
const MAX_WEIGHT: u32 = 1000;
const DEFAULT_REFRESH: Duration = Duration::from_secs(5);
/// Faster would be an attack on the name server.
const SHORTEST_REFRESH: Duration = Duration::from_millis(500);

pub(super) fn subsets(
    decoder: &mut Decoder,
    node: &Node,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut subsets = BTreeMap::new();
    for (name, node) in decoder.fields(node, "`subsets`").rest() {
        label(decoder, name, "subset name");
        let labels = labels(decoder, node, "the subset");
        if labels.is_empty() {
            let message = format!("the subset `{}` has no labels", name.value);
            let problem = Problem::new("missing-key", name.span, message);
            decoder.report(problem.hint("such as `{ version: v1 }`"));
        }
        subsets.insert(name.value.clone(), labels);
    }
    subsets
}

pub(super) fn labels(
    decoder: &mut Decoder,
    node: &Node,
    what: &'static str,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in decoder.fields(node, what).rest() {
        let Some(value) = decoder.text(value, "the value of a label") else {
            continue;
        };
        for (text, is_good) in [(key, is_label_key(key)), (&value, is_label_value(&value))] {
            if !is_good {
                let message = format!("`{}` is no good part of a label", text.value);
                let problem = Problem::new("wrong-name", text.span, message);
                decoder.report(problem.hint("letters, digits, and `-`, `_`, `.` inside"));
            }
        }
        labels.insert(key.value.clone(), value.value);
    }
    labels
}

pub(super) fn locality(decoder: &mut Decoder, node: &Node) -> Locality {
    let mut fields = decoder.fields(node, "`locality`");
    let mut part = |key| {
        let node = fields.take(key)?;
        Some(decoder.text(node, &format!("`{key}`"))?.value)
    };
    let locality = Locality {
        region: part("region").unwrap_or_default(),
        zone: part("zone").unwrap_or_default(),
        sub_zone: part("subZone").unwrap_or_default(),
    };
    fields.finish(decoder);
    locality
}

/// `endpoints`, `dns`, or neither.
pub(super) fn source(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
    is_run: bool,
) -> EndpointSource {
    let list = fields.take("endpoints");
    let dns = fields.take("dns");
    if let (Some(_), Some(node)) = (list, dns) {
        let message = "a service has `endpoints` or `dns`, never both";
        decoder.report(Problem::new("wrong-value", node.span, message));
    }
    if let Some(node) = list.or(dns).filter(|_| is_run) {
        let message =
            "what `run` starts would not be called: the endpoints are said to be elsewhere";
        let problem = Problem::new("wrong-value", node.span, message);
        decoder.report(problem.hint("drop `run`, or let its workloads register"));
    }
    match (list, dns) {
        (Some(node), _) => EndpointSource::List(listed(decoder, node)),
        (None, Some(node)) => dns_name(decoder, node)
            .map(EndpointSource::Dns)
            .unwrap_or_default(),
        (None, None) => EndpointSource::Registry,
    }
}

fn listed(decoder: &mut Decoder, node: &Node) -> Vec<Endpoint> {
    let items = decoder.list(node, "`endpoints`");
    let mut found: Vec<Endpoint> = Vec::new();
    for node in items {
        let Some(endpoint) = endpoint(decoder, node) else {
            continue;
        };
        if found.iter().any(|other| other.address == endpoint.address) {
            let message = format!("the address {} is listed twice", endpoint.address);
            decoder.report(Problem::new("duplicate-name", node.span, message));
        }
        found.push(endpoint);
    }
    let priorities: BTreeSet<_> = found.iter().map(|endpoint| endpoint.priority).collect();
    let skipped = (0..).zip(&priorities).find(|(at, found)| at != *found);
    if let Some((at, _)) = skipped {
        let message = format!("no endpoint has the priority {at}");
        let problem = Problem::new("wrong-value", node.span, message);
        decoder.report(problem.hint("priorities count from 0 without gaps"));
    }
    found.sort();
    found
}

fn endpoint(decoder: &mut Decoder, node: &Node) -> Option<Endpoint> {
    let mut fields = decoder.fields(node, "the endpoint");
    let address = fields
        .require(decoder, "address")
        .and_then(|node| address(decoder, node));
    let locality = fields
        .take("locality")
        .map(|node| locality(decoder, node))
        .unwrap_or_default();
    let priority = fields.count(decoder, "priority", 0..=MAX_PRIORITY, 0);
    let weight = fields.count(decoder, "weight", 1..=MAX_WEIGHT, 1);
    let labels = fields
        .take("labels")
        .map(|node| labels(decoder, node, "`labels`"))
        .unwrap_or_default();
    fields.finish(decoder);
    let address = address?;
    Some(Endpoint {
        locality,
        priority,
        weight,
        labels,
        ..Endpoint::new(address, address.to_string())
    })
}

fn address(decoder: &mut Decoder, node: &Node) -> Option<SocketAddr> {
    let text = decoder.text(node, "`address`")?;
    let address = text.parse().ok().filter(|address: &SocketAddr| {
        let ip = address.ip();
        address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    });
    if address.is_none() {
        let message = format!("`{}` is no IP address and port", text.value);
        let problem = Problem::new("wrong-value", text.span, message);
        decoder.report(problem.hint("such as `10.0.0.5:15006`; names are for `dns`"));
    }
    address
}

fn dns_name(decoder: &mut Decoder, node: &Node) -> Option<DnsName> {
    let mut fields = decoder.fields(node, "`dns`");
    let host = fields
        .require(decoder, "host")
        .and_then(|node| decoder.text(node, "`host`"));
    let port = fields
        .require(decoder, "port")
        .and_then(|node| decoder.count(node, "`port`", 1..=65_535));
    let refresh = fields.duration(decoder, "refresh", DEFAULT_REFRESH);
    if refresh < SHORTEST_REFRESH {
        let message = "`refresh` must be at least 0.5s";
        decoder.report(Problem::new("out-of-range", fields.span, message));
    }
    fields.finish(decoder);
    let host = host?;
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_name = host.bytes().all(inside)
        && host.len() <= 253
        && !host
            .split('.')
            .any(|part| part.is_empty() || part.len() > 63)
        && host.parse::<std::net::IpAddr>().is_err();
    if !is_name {
        let message = format!("`{}` is no host name", host.value);
        let problem = Problem::new("wrong-name", host.span, message);
        decoder.report(problem.hint(
            "a name without port, such as `payments.example.com`; \
             addresses go into `endpoints`",
        ));
        return None;
    }
    Some(DnsName {
        host: host.value,
        port: u16::try_from(port?).ok()?,
        refresh,
    })
}
