//! `routes`: the Gateway API's `GRPCRoute`. Of two rules that match, the earlier applies.

mod filters;
mod refs;

use super::header_name;
use crate::{
    dataplane::{HeaderMatch, TextMatch, check_regex},
    decode::Decoder,
    mesh::{BackendRef, MethodName, Route, RouteEntry, RouteMatchEntry},
    problem::Problem,
    span::Spanned,
    tree::{Node, Value},
};

pub(super) use refs::check;

const MAX_WEIGHT: u32 = 1_000_000;
/// What a match may say besides `Exact`.
const EXACT: &str = "Exact";
const REGEX: &str = "RegularExpression";

pub(super) fn read(decoder: &mut Decoder, node: Option<&Node>) -> Vec<Route> {
    let Some(node) = node else {
        return Vec::new();
    };
    let items = decoder.list(node, "`routes`");
    items.iter().map(|node| route(decoder, node)).collect()
}

fn route(decoder: &mut Decoder, node: &Node) -> Route {
    let mut fields = decoder.fields(node, "the route");
    if let Some(node) = fields.take("kind") {
        decoder.choice(node, "`kind`", &[("GRPCRoute", ())]);
    }
    let parents = fields.require(decoder, "parentRefs").map(|list| {
        refuse_empty(
            decoder,
            list,
            "`parentRefs`",
            "say whose callers follow this route",
        );
        let items = decoder.list(list, "`parentRefs`");
        items
            .iter()
            .filter_map(|node| {
                let mut fields = decoder.fields(node, "the parent");
                let name = fields.require(decoder, "name");
                fields.finish(decoder);
                decoder.text(name?, "`name`")
            })
            .collect()
    });
    let rules = fields.require(decoder, "rules").map(|list| {
        refuse_empty(
            decoder,
            list,
            "`rules`",
            "a route without rules does nothing",
        );
        rules(decoder, list)
    });
    fields.finish(decoder);
    Route {
        parents: parents.unwrap_or_default(),
        rules: rules.unwrap_or_default(),
    }
}

fn refuse_empty(decoder: &mut Decoder, list: &Node, what: &str, hint: &str) {
    let is_empty = match &list.value {
        Value::List(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if is_empty {
        let message = format!("{what} is empty");
        decoder.report(Problem::new("wrong-value", list.span, message).hint(hint));
    }
}

fn rules(decoder: &mut Decoder, list: &Node) -> Vec<RouteEntry> {
    let mut rules: Vec<RouteEntry> = Vec::new();
    for (at, node) in decoder.list(list, "`rules`").iter().enumerate() {
        let rule = rule(decoder, at, node);
        if rules.iter().any(|other| *other.name == *rule.name) {
            let message = format!("two rules of this route are called `{}`", rule.name.value);
            let problem = Problem::new("duplicate-name", rule.name.span, message);
            decoder.report(problem.hint("decision records name the rule that applied"));
        }
        rules.push(rule);
    }
    rules
}

fn rule(decoder: &mut Decoder, at: usize, node: &Node) -> RouteEntry {
    let mut fields = decoder.fields(node, "the rule");
    let name = fields
        .take("name")
        .and_then(|node| decoder.text(node, "`name`"))
        .unwrap_or_else(|| Spanned::new(format!("rules[{at}]"), node.span));
    let matches = fields.take("matches").map(|list| {
        let items = decoder.list(list, "`matches`");
        let matches = items.iter().map(|node| route_match(decoder, node));
        matches.collect()
    });
    let backends = fields.take("backendRefs").map(|list| {
        let items = decoder.list(list, "`backendRefs`");
        let backends: Vec<_> = items
            .iter()
            .filter_map(|node| backend(decoder, node))
            .collect();
        if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
            let message = "all weights are zero: no call could be sent";
            decoder.report(Problem::new("wrong-value", list.span, message));
        }
        backends
    });
    let mut rule = RouteEntry {
        name,
        matches: matches.unwrap_or_default(),
        backends: backends.unwrap_or_default(),
        request_headers: Default::default(),
        response_headers: Default::default(),
        mirrors: Vec::new(),
        fault: None,
    };
    if let Some(list) = fields.take("filters") {
        filters::read(decoder, list, &mut rule);
    }
    fields.finish(decoder);
    rule
}

fn route_match(decoder: &mut Decoder, node: &Node) -> RouteMatchEntry {
    let mut fields = decoder.fields(node, "the match");
    let method = fields.take("method").map(|node| method(decoder, node));
    let headers = fields.take("headers").map(|list| {
        let items = decoder.list(list, "`headers`");
        let headers = items.iter().filter_map(|node| header(decoder, node));
        headers.collect()
    });
    fields.finish(decoder);
    RouteMatchEntry {
        method: method.unwrap_or(MethodName {
            service: None,
            method: None,
            span: node.span,
        }),
        headers: headers.unwrap_or_default(),
        span: node.span,
    }
}

fn method(decoder: &mut Decoder, node: &Node) -> MethodName {
    let mut fields = decoder.fields(node, "`method`");
    if let Some(node) = fields.take("type") {
        decoder.choice(node, "the `type` of a method match", &[(EXACT, ())]);
    }
    let mut part = |key| {
        let node = fields.take(key)?;
        decoder.text(node, &format!("`{key}`"))
    };
    let (service, method) = (part("service"), part("method"));
    fields.finish(decoder);
    if let (None, Some(method)) = (&service, &method) {
        let message = format!("method `{}` without its `service`", method.value);
        decoder.report(Problem::new("missing-key", method.span, message));
    }
    MethodName {
        span: service.as_ref().map_or(node.span, |service| service.span),
        service,
        method,
    }
}

fn header(decoder: &mut Decoder, node: &Node) -> Option<HeaderMatch> {
    let mut fields = decoder.fields(node, "the header match");
    let name = fields
        .require(decoder, "name")
        .and_then(|node| header_name(decoder, node, "`name`"));
    let value = fields
        .require(decoder, "value")
        .and_then(|node| decoder.text(node, "`value`"));
    let is_regex = match fields.take("type") {
        Some(node) => decoder.choice(
            node,
            "the `type` of a header match",
            &[(EXACT, false), (REGEX, true)],
        )?,
        None => false,
    };
    fields.finish(decoder);
    let value = value?;
    if !is_regex {
        return Some(HeaderMatch {
            name: name?.value,
            value: TextMatch::Exact(value.value),
        });
    }
    if let Err(reason) = check_regex(&value) {
        let message = format!("`{}` is no regular expression: {reason}", value.value);
        decoder.report(Problem::new("wrong-value", value.span, message));
        return None;
    }
    Some(HeaderMatch {
        name: name?.value,
        value: TextMatch::Regex(value.value),
    })
}

fn backend(decoder: &mut Decoder, node: &Node) -> Option<BackendRef> {
    let mut fields = decoder.fields(node, "the backend");
    let weight = fields.count(decoder, "weight", 0..=MAX_WEIGHT, 1);
    let backend = backend_fields(decoder, fields)?;
    Some(BackendRef { weight, ..backend })
}

/// What a backend and a mirror have in common.
fn backend_fields(
    decoder: &mut Decoder,
    mut fields: crate::decode::Fields<'_>,
) -> Option<BackendRef> {
    let service = fields
        .require(decoder, "name")
        .and_then(|node| decoder.text(node, "`name`"));
    let subset = fields
        .take("subset")
        .and_then(|node| decoder.text(node, "`subset`"));
    fields.finish(decoder);
    Some(BackendRef {
        service: service?,
        subset,
        weight: 0,
    })
}
