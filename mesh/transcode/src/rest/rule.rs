//! `google.api.http` as it is written in a contract.

use http::Method;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

use super::route::BuildError;

/// The raw rule of one binding.
pub(super) struct Rule {
    pub(super) verb: Option<Method>,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) response_body: String,
}

fn text(message: &DynamicMessage, field: &str) -> String {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The rule and its additional bindings, flat.
pub(super) fn raw_rules(
    method: &MethodDescriptor,
    option: &DynamicMessage,
) -> Result<Vec<Rule>, BuildError> {
    let mut rules = vec![raw_rule(method, option)?];
    if let Some(Value::List(more)) = option.get_field_by_name("additional_bindings").as_deref() {
        for binding in more.iter().filter_map(Value::as_message) {
            if binding.has_field_by_name("additional_bindings") {
                return Err(BuildError::Rule {
                    method: method.full_name().to_owned(),
                    problem: "additional_bindings within additional_bindings".to_owned(),
                });
            }
            rules.push(raw_rule(method, binding)?);
        }
    }
    Ok(rules)
}

fn raw_rule(method: &MethodDescriptor, option: &DynamicMessage) -> Result<Rule, BuildError> {
    let problem = |problem: &str| BuildError::Rule {
        method: method.full_name().to_owned(),
        problem: problem.to_owned(),
    };
    let fixed = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let mut found = None;
    for (name, verb) in fixed {
        if option.has_field_by_name(name) {
            found = Some((Some(verb), text(option, name)));
        }
    }
    if option.has_field_by_name("custom")
        && let Some(Value::Message(custom)) = option.get_field_by_name("custom").as_deref()
    {
        let kind = text(custom, "kind");
        let verb = match kind.as_str() {
            "*" => None,
            kind => Some(
                kind.parse()
                    .map_err(|_| problem("custom kind is no HTTP method"))?,
            ),
        };
        found = Some((verb, text(custom, "path")));
    }
    let (verb, path) = found.ok_or_else(|| problem("google.api.http without a pattern"))?;
    Ok(Rule {
        verb,
        path,
        body: text(option, "body"),
        response_body: text(option, "response_body"),
    })
}
