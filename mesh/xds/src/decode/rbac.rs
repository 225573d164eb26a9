//! RBAC filters as the caller rules of gRFC A43.

use prost_types::Any;
use weft_model::dataplane::{AuthzRule, HeaderMatch, Inbound};

use super::{Invalid, matcher, unpack, unsupported};
use crate::proto::envoy::{
    config::rbac::v3::{
        Permission, Policy, Principal, permission, principal, rbac::Action as RbacAction,
    },
    extensions::filters::http::rbac::v3::Rbac,
    r#type::matcher::v3::path_matcher,
};

/// What a filter does with its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Added {
    /// It is one that allows.
    pub(super) decides: bool,
    /// It only says what it would do.
    pub(super) is_dry_run: bool,
}

/// Adds a filter's rules.
pub(super) fn add_rules(config: &Any, rules: &mut Inbound) -> Result<Added, Invalid> {
    let filter: Rbac = unpack(config)?;
    unsupported("matcher", filter.matcher.is_some())?;
    unsupported("shadow_matcher", filter.shadow_matcher.is_some())?;
    let (found, is_dry_run) = match (filter.rules, filter.shadow_rules) {
        (Some(rules), None) => (rules, false),
        (None, Some(rules)) => (rules, true),
        (Some(_), Some(_)) => {
            let reason = "`rules` and `shadow_rules` together are not supported";
            return Err(Invalid::new("shadow_rules", reason));
        }
        (None, None) => return Err(Invalid::new("rules", "required")),
    };
    let action = found.action();
    let target = match action {
        RbacAction::Allow => &mut rules.allow_rules,
        RbacAction::Deny => &mut rules.deny_rules,
        RbacAction::Log => return Err(Invalid::new("rules.action", "`LOG` is not supported")),
    };
    if action == RbacAction::Allow && !target.is_empty() {
        return Err(Invalid::new(
            "rules",
            "a second ALLOW filter is not supported",
        ));
    }
    let mut policies: Vec<_> = found.policies.iter().collect();
    policies.sort_by_key(|(key, _)| *key);
    for (key, policy) in policies {
        let rule = rule(key, policy)
            .map_err(|e| e.within(format!("rules.policies[{}]", key.escape_default())))?;
        target.push(rule);
    }
    Ok(Added {
        decides: action == RbacAction::Allow,
        is_dry_run,
    })
}

fn rule(key: &str, policy: &Policy) -> Result<AuthzRule, Invalid> {
    unsupported("condition", policy.condition.is_some())?;
    unsupported("checked_condition", policy.checked_condition.is_some())?;
    let (paths, headers) = permissions(&policy.permissions)?;
    let principals = patterns("principals", &policy.principals, principal_name)?;
    // Our control plane numbers its rules, because a map has no order.
    let name = match key.split_once('-') {
        Some((number, name)) if number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => key,
    };
    Ok(AuthzRule {
        name: name.to_owned(),
        principals,
        paths,
        headers,
    })
}

/// All entries as patterns; empty if one of them (`None`) matches everything.
fn patterns<T>(
    path: &str,
    entries: &[T],
    read: fn(&T) -> Result<Option<String>, Invalid>,
) -> Result<Vec<String>, Invalid> {
    if entries.is_empty() {
        return Err(Invalid::new(path, "at least one is required"));
    }
    let found = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| read(entry).map_err(|e| e.within(format!("{path}[{at}]"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(found
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default())
}

/// `None` for a permission that matches every path.
fn permission_path(permission: &Permission) -> Result<Option<String>, Invalid> {
    match &permission.rule {
        Some(permission::Rule::Any(true)) => Ok(None),
        Some(permission::Rule::UrlPath(path)) => {
            let Some(path_matcher::Rule::Path(text)) = &path.rule else {
                return Err(Invalid::new("url_path.path", "required"));
            };
            matcher::pattern(Some(text))
                .map(Some)
                .map_err(|e| e.within("url_path.path"))
        }
        _ => Err(Invalid::new(
            "rule",
            "only `any` and `url_path` are supported",
        )),
    }
}

/// Any of the paths, and all of the headers.
fn permissions(found: &[Permission]) -> Result<(Vec<String>, Vec<HeaderMatch>), Invalid> {
    let [
        Permission {
            rule: Some(permission::Rule::AndRules(all)),
        },
    ] = found
    else {
        let paths = patterns("permissions", found, permission_path)?;
        return Ok((paths, Vec::new()));
    };
    let within = |e: Invalid| e.within("permissions[0].and_rules");
    let mut paths = None;
    let mut headers = Vec::new();
    for (at, part) in all.rules.iter().enumerate() {
        let path = format!("rules[{at}]");
        match &part.rule {
            Some(permission::Rule::OrRules(any)) if paths.is_none() => {
                let read = patterns(
                    &format!("{path}.or_rules.rules"),
                    &any.rules,
                    permission_path,
                );
                paths = Some(read.map_err(within)?);
            }
            Some(permission::Rule::Header(header)) => {
                let read = matcher::header(header).map_err(|e| e.within("header"));
                headers.push(read.map_err(|e| within(e.within(path)))?);
            }
            _ => {
                let reason = "only one `or_rules` and `header` are supported";
                return Err(within(Invalid::new(path, reason)));
            }
        }
    }
    Ok((paths.unwrap_or_default(), headers))
}

fn principal_name(principal: &Principal) -> Result<Option<String>, Invalid> {
    match &principal.identifier {
        Some(principal::Identifier::Any(true)) => Ok(None),
        Some(principal::Identifier::Authenticated(found)) => match &found.principal_name {
            None => Ok(Some("*".to_owned())),
            name => matcher::pattern(name.as_ref())
                .map(Some)
                .map_err(|e| e.within("authenticated.principal_name")),
        },
        _ => Err(Invalid::new(
            "identifier",
            "only `any` and `authenticated` are supported",
        )),
    }
}
