//! Caller rules: gRFC A43's authorization policy.

use super::{header_name, is_hop_by_hop, rules::wildcard_inside};
use crate::{
    dataplane::TextMatch,
    decode::Decoder,
    mesh::{Authz, HeaderRule, Rule},
    problem::Problem,
    span::Spanned,
    tree::{Node, Value},
};

/// How many caller rules one with several header values may stand for.
const MAX_COMBINATIONS: usize = 64;

pub(super) fn read(decoder: &mut Decoder, node: &Node) -> Authz {
    let mut fields = decoder.fields(node, "`authz`");
    let authz = Authz {
        is_dry_run: fields
            .take("dryRun")
            .and_then(|node| decoder.boolean(node, "`dryRun`"))
            .unwrap_or_default(),
        deny_rules: rules(decoder, fields.take("deny_rules")),
        allow_rules: rules(decoder, fields.take("allow_rules")),
    };
    fields.finish(decoder);
    authz
}

fn rules(decoder: &mut Decoder, node: Option<&Node>) -> Vec<Rule> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut rules: Vec<Rule> = Vec::new();
    for node in decoder.list(node, "caller rules") {
        let Some(rule) = rule(decoder, node) else {
            continue;
        };
        if rules
            .iter()
            .any(|other| other.name.value == rule.name.value)
        {
            let message = format!("two rules are called `{}`", rule.name.value);
            let problem = Problem::new("duplicate-name", rule.name.span, message);
            decoder.report(problem.hint("logs and errors name the rule that decided"));
        }
        rules.push(rule);
    }
    rules
}

fn rule(decoder: &mut Decoder, node: &Node) -> Option<Rule> {
    let mut fields = decoder.fields(node, "the caller rule");
    let name = fields
        .require(decoder, "name")
        .and_then(|node| decoder.text(node, "`name`"));
    let principals = fields.take("source").map(|node| {
        let mut fields = decoder.fields(node, "`source`");
        let list = fields.require(decoder, "principals");
        fields.finish(decoder);
        list.map(|list| patterns(decoder, list, &PRINCIPALS))
    });
    let request = fields.take("request").map(|node| request(decoder, node));
    fields.finish(decoder);
    let (paths, headers) = request.unwrap_or_default();
    Some(Rule {
        name: name?,
        principals: principals.flatten().unwrap_or_default(),
        paths,
        headers,
    })
}

/// Paths and headers of which at least one is there.
fn request(decoder: &mut Decoder, node: &Node) -> (Vec<Spanned<String>>, Vec<HeaderRule>) {
    let mut fields = decoder.fields(node, "`request`");
    if !fields.has("headers") {
        let paths = fields.require(decoder, "paths");
        fields.finish(decoder);
        let paths = paths.map(|list| patterns(decoder, list, &PATHS));
        return (paths.unwrap_or_default(), Vec::new());
    }
    let paths = fields
        .take("paths")
        .map(|list| patterns(decoder, list, &PATHS));
    let headers = fields
        .take("headers")
        .map(|list| headers(decoder, list))
        .unwrap_or_default();
    fields.finish(decoder);
    (paths.unwrap_or_default(), headers)
}

/// A list of patterns, and what leaving it out means.
pub(super) struct Patterns {
    key: &'static str,
    item: &'static str,
    everything: &'static str,
}

pub(super) const PRINCIPALS: Patterns = Patterns {
    key: "principals",
    item: "a principal",
    everything: "leave it out if any caller of the mesh is meant",
};
pub(super) const PATHS: Patterns = Patterns {
    key: "paths",
    item: "a path",
    everything: "leave it out if every method is meant",
};

/// None at all would open what somebody wanted to close.
pub(super) fn patterns(
    decoder: &mut Decoder,
    list: &Node,
    part: &Patterns,
) -> Vec<Spanned<String>> {
    refuse_empty(decoder, list, part.key, part.everything);
    decoder.texts(list, part.item)
}

fn refuse_empty(decoder: &mut Decoder, list: &Node, key: &str, hint: &str) {
    let is_empty = match &list.value {
        Value::Null => true,
        Value::List(items) => items.is_empty(),
        _ => false,
    };
    if is_empty {
        let message = format!("`{key}` is empty");
        decoder.report(Problem::new("wrong-value", list.span, message).hint(hint));
    }
}

/// gRFC A43's `headers`: all of them must match, each with any of its values.
fn headers(decoder: &mut Decoder, node: &Node) -> Vec<HeaderRule> {
    refuse_empty(
        decoder,
        node,
        "headers",
        "leave it out if no header matters",
    );
    let items = decoder.list(node, "`headers`");
    let headers: Vec<_> = items
        .iter()
        .filter_map(|node| header(decoder, node))
        .collect();
    let combinations = headers.iter().fold(1_usize, |all, header| {
        all.saturating_mul(header.values.len())
    });
    if combinations > MAX_COMBINATIONS {
        let message = format!("the values of `headers` make {combinations} combinations");
        let problem = Problem::new("out-of-range", node.span, message);
        decoder.report(problem.hint(format!("at most {MAX_COMBINATIONS} fit into one rule")));
        return Vec::new();
    }
    headers
}

fn header(decoder: &mut Decoder, node: &Node) -> Option<HeaderRule> {
    let mut fields = decoder.fields(node, "the header");
    let name = fields
        .require(decoder, "key")
        .and_then(|node| header_name(decoder, node, "`key`"));
    let values = fields.require(decoder, "values").map(|list| {
        refuse_empty(decoder, list, "values", "`*` stands for any value");
        decoder.texts(list, "a value")
    });
    fields.finish(decoder);
    let (name, values) = (name?, values?);
    // gRFC A43 names them: they belong to the transport, not to the caller.
    let is_own = name.starts_with("grpc-") || name.value == "host" || is_hop_by_hop(&name);
    if is_own {
        let message = format!("a caller rule cannot ask for the header `{}`", name.value);
        decoder.report(Problem::new("wrong-name", name.span, message));
    }
    let values = values
        .into_iter()
        .filter_map(|value| match wildcard_inside(&value) {
            false => Some(value_match(value.value)),
            true => {
                let message = format!(
                    "`{}` has a `*` that is neither its first nor its last character",
                    value.value
                );
                decoder.report(Problem::new("wrong-value", value.span, message));
                None
            }
        })
        .collect();
    Some(HeaderRule { name, values })
}

fn value_match(text: String) -> TextMatch {
    if text == "*" {
        TextMatch::Present
    } else if let Some(prefix) = text.strip_suffix('*') {
        TextMatch::Prefix(prefix.to_owned())
    } else if let Some(suffix) = text.strip_prefix('*') {
        TextMatch::Suffix(suffix.to_owned())
    } else {
        TextMatch::Exact(text)
    }
}
