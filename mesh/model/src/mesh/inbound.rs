//! Who may call a service, and how often, with the places of the parts.

use crate::{
    dataplane::{AuthzRule, HeaderMatch, RateLimit, RateLimitKey, TextMatch, TokenBucket},
    span::Spanned,
};

/// gRFC A43's policy. What no allow rule matches is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authz {
    /// What the rules refuse passes, and is only logged.
    pub is_dry_run: bool,
    /// Asked first.
    pub deny_rules: Vec<Rule>,
    /// Asked when no deny rule matched.
    pub allow_rules: Vec<Rule>,
}

/// One caller rule with the places of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Shown in logs and error details.
    pub name: Spanned<String>,
    /// SPIFFE IDs, `*` at one end matches the rest. Empty: any authenticated caller.
    pub principals: Vec<Spanned<String>>,
    /// Paths, same wildcards. Empty: every method.
    pub paths: Vec<Spanned<String>>,
    /// Headers, all of which must match.
    pub headers: Vec<HeaderRule>,
}

/// A header of which one of several values is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Lower case.
    pub name: Spanned<String>,
    /// Any of these.
    pub values: Vec<TextMatch>,
}

impl Rule {
    /// The rule without places: one for each combination of header values, all with its name.
    pub fn to_dataplane(&self) -> Vec<AuthzRule> {
        let mut rules = vec![AuthzRule {
            name: self.name.value.clone(),
            principals: texts(&self.principals),
            paths: texts(&self.paths),
            headers: Vec::new(),
        }];
        for header in &self.headers {
            let with = |rule: &AuthzRule, value: &TextMatch| {
                let mut rule = rule.clone();
                rule.headers.push(HeaderMatch {
                    name: header.name.value.clone(),
                    value: value.clone(),
                });
                rule
            };
            rules = rules
                .iter()
                .flat_map(|rule| header.values.iter().map(move |value| with(rule, value)))
                .collect();
        }
        rules
    }
}

/// A local rate limit with the places of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitRule {
    /// Shown in logs and error details.
    pub name: Spanned<String>,
    /// Whose calls: as in [`Rule`].
    pub principals: Vec<Spanned<String>>,
    /// Which methods: as in [`Rule`].
    pub paths: Vec<Spanned<String>>,
    /// Who shares a bucket.
    pub key: RateLimitKey,
    /// How large each bucket is.
    pub token_bucket: TokenBucket,
}

impl RateLimitRule {
    /// The limit without places.
    pub fn to_dataplane(&self) -> RateLimit {
        RateLimit {
            name: self.name.value.clone(),
            principals: texts(&self.principals),
            paths: texts(&self.paths),
            key: self.key.clone(),
            token_bucket: self.token_bucket.clone(),
        }
    }
}

fn texts(items: &[Spanned<String>]) -> Vec<String> {
    items.iter().map(|item| item.value.clone()).collect()
}
