//! Caller rules (gRFC A43) as an RBAC filter.

use weft_model::dataplane::AuthzRule;

use super::headers;
use crate::{
    proto::envoy::{
        config::rbac::v3::{
            Permission, Policy, Principal, Rbac as Rules, permission, principal, rbac::Action,
        },
        extensions::filters::{
            http::rbac::v3::Rbac, network::http_connection_manager::v3::HttpFilter,
        },
        r#type::matcher::v3::{
            PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern,
        },
    },
    resources::any,
};

const RBAC: &str = "envoy.filters.http.rbac";

pub(super) fn filter(action: Action, rules: &[AuthzRule], is_dry_run: bool) -> HttpFilter {
    let policies = rules
        .iter()
        .enumerate()
        // Policies are a map; the number keeps their order and lets two rules have one name.
        .map(|(at, rule)| (format!("{at:04}-{}", rule.name), policy(rule)))
        .collect();
    let rules = Some(Rules {
        action: action as i32,
        policies,
        ..Default::default()
    });
    // Envoy only logs what shadow rules would do.
    let config = match is_dry_run {
        true => Rbac {
            shadow_rules: rules,
            ..Default::default()
        },
        false => Rbac {
            rules,
            ..Default::default()
        },
    };
    super::filter(RBAC, any(&config))
}

fn policy(rule: &AuthzRule) -> Policy {
    Policy {
        permissions: permissions(rule)
            .into_iter()
            .map(|rule| Permission { rule: Some(rule) })
            .collect(),
        principals: principals(rule)
            .into_iter()
            .map(|identifier| Principal {
                identifier: Some(identifier),
            })
            .collect(),
        ..Default::default()
    }
}

/// Any of the paths, and with it all of the headers.
fn permissions(rule: &AuthzRule) -> Vec<permission::Rule> {
    let paths: Vec<_> = match rule.paths.as_slice() {
        [] => vec![permission::Rule::Any(true)],
        paths => paths
            .iter()
            .map(|path| {
                permission::Rule::UrlPath(PathMatcher {
                    rule: Some(path_matcher::Rule::Path(path_pattern(path))),
                })
            })
            .collect(),
    };
    if rule.headers.is_empty() {
        return paths;
    }
    let paths = permission::Rule::OrRules(set(paths));
    let headers = rule
        .headers
        .iter()
        .map(|header| permission::Rule::Header(headers::matcher(header)));
    vec![permission::Rule::AndRules(set([paths]
        .into_iter()
        .chain(headers)))]
}

fn set(rules: impl IntoIterator<Item = permission::Rule>) -> permission::Set {
    permission::Set {
        rules: rules
            .into_iter()
            .map(|rule| Permission { rule: Some(rule) })
            .collect(),
    }
}

fn principals(rule: &AuthzRule) -> Vec<principal::Identifier> {
    if rule.principals.is_empty() {
        return vec![principal::Identifier::Any(true)];
    }
    rule.principals
        .iter()
        .map(|name| {
            principal::Identifier::Authenticated(principal::Authenticated {
                // Without a name: whoever is authenticated.
                principal_name: (name != "*").then(|| pattern(name)),
            })
        })
        .collect()
}

/// Every path starts with a slash, and xDS allows no empty prefix.
fn path_pattern(path: &str) -> StringMatcher {
    pattern(if path == "*" { "/*" } else { path })
}

fn pattern(text: &str) -> StringMatcher {
    let pattern = if let Some(prefix) = text.strip_suffix('*') {
        MatchPattern::Prefix(prefix.to_owned())
    } else if let Some(suffix) = text.strip_prefix('*') {
        MatchPattern::Suffix(suffix.to_owned())
    } else {
        MatchPattern::Exact(text.to_owned())
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}
