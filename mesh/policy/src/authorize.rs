//! Caller rules: deny rules first, then allow rules, then no (gRFC A43).

use std::sync::Arc;

use weft_model::dataplane::{AuthzRule, Inbound};

use crate::{
    facts::Headers,
    matcher::{HeaderMatcher, any},
};

/// What the caller rules say about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The named allow rule matches and no deny rule does.
    Allowed {
        /// The rule's name in the mesh file.
        rule: Arc<str>,
    },
    /// The named deny rule matches.
    Denied {
        /// The rule's name in the mesh file.
        rule: Arc<str>,
    },
    /// No rule matches, and what nothing allows is denied.
    DeniedByDefault,
}

impl Decision {
    /// Whether the request may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// The rule that decided, or `default-deny`.
    pub fn rule(&self) -> &str {
        match self {
            Self::Allowed { rule } | Self::Denied { rule } => rule,
            Self::DeniedByDefault => "default-deny",
        }
    }
}

/// Asks whether `caller`, a verified SPIFFE ID, may call `path` (`/package.Service/Method`).
///
/// `path` is compared byte for byte: a path that is not in the form a gRPC client sends matches only
/// rules for every method, and the workload will not serve it. Whoever asks often keeps an
/// [`crate::InboundEngine`], which makes the rules ready once.
pub fn authorize(inbound: &Inbound, caller: &str, path: &str, headers: &dyn Headers) -> Decision {
    Rules::new(inbound).matching(caller, path).decide(headers)
}

/// The caller rules of a workload, made ready for calls.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    deny: Vec<Rule>,
    allow: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    rule: AuthzRule,
    condition: Condition,
}

/// What is left of a rule when caller and path match: its headers.
#[derive(Clone, Debug)]
struct Condition {
    name: Arc<str>,
    headers: Arc<[HeaderMatcher]>,
}

/// The rules for one caller and path; which one decides is up to the headers.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    deny: Vec<Condition>,
    allow: Vec<Condition>,
}

impl Rules {
    pub(crate) fn new(inbound: &Inbound) -> Self {
        let ready = |rules: &[AuthzRule]| rules.iter().map(Rule::new).collect();
        Self {
            deny: ready(&inbound.deny_rules),
            allow: ready(&inbound.allow_rules),
        }
    }

    pub(crate) fn matching(&self, caller: &str, path: &str) -> Matching {
        let find = |rules: &[Rule]| {
            let matching = rules.iter().filter(|rule| rule.matches(caller, path));
            matching.map(|rule| rule.condition.clone()).collect()
        };
        Matching {
            deny: find(&self.deny),
            allow: find(&self.allow),
        }
    }
}

impl Matching {
    pub(crate) fn decide(&self, headers: &dyn Headers) -> Decision {
        // A condition that makes no sense must not open a door: it denies, and allows nothing.
        let find = |conditions: &[Condition], if_broken| {
            let mut conditions = conditions.iter();
            let found = conditions.find(|condition| {
                let mut headers_of_rule = condition.headers.iter();
                headers_of_rule.all(|header| header.matches(headers, if_broken))
            });
            found.map(|condition| Arc::clone(&condition.name))
        };
        if let Some(rule) = find(&self.deny, true) {
            return Decision::Denied { rule };
        }
        match find(&self.allow, false) {
            Some(rule) => Decision::Allowed { rule },
            None => Decision::DeniedByDefault,
        }
    }
}

impl Rule {
    fn new(rule: &AuthzRule) -> Self {
        Self {
            condition: Condition {
                name: rule.name.as_str().into(),
                headers: rule.headers.iter().map(HeaderMatcher::new).collect(),
            },
            rule: rule.clone(),
        }
    }

    fn matches(&self, caller: &str, path: &str) -> bool {
        any(&self.rule.principals, caller) && any(&self.rule.paths, path)
    }
}

#[cfg(test)]
mod tests {
    use weft_model::dataplane::{HeaderMatch, TextMatch};

    use super::*;
    use crate::facts::NoHeaders;

    const EDGE: &str = "spiffe://sockshop.local/ns/shop/sa/edge";
    const ORDERS: &str = "spiffe://sockshop.local/ns/shop/sa/orders";
    const PLACE: &str = "/sockshop.orders.v1.OrderService/PlaceOrder";

    fn rule(name: &str, principals: &[&str], paths: &[&str]) -> AuthzRule {
        AuthzRule {
            name: name.to_owned(),
            principals: principals.iter().map(|&text| text.to_owned()).collect(),
            paths: paths.iter().map(|&text| text.to_owned()).collect(),
            ..AuthzRule::default()
        }
    }

    fn inbound(deny: Vec<AuthzRule>, allow: Vec<AuthzRule>) -> Inbound {
        Inbound {
            service: "orders".to_owned(),
            deny_rules: deny,
            allow_rules: allow,
            ..Inbound::default()
        }
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        let decision = authorize(&inbound(vec![], vec![]), EDGE, PLACE, &NoHeaders);
        assert_eq!(decision, Decision::DeniedByDefault);
        assert_eq!(decision.rule(), "default-deny");
    }

    #[test]
    fn an_allow_rule_names_caller_and_method() {
        let rules = inbound(vec![], vec![rule("edge-places", &[EDGE], &[PLACE])]);
        let allowed = Decision::Allowed {
            rule: "edge-places".into(),
        };
        assert_eq!(authorize(&rules, EDGE, PLACE, &NoHeaders), allowed);
        assert!(!authorize(&rules, ORDERS, PLACE, &NoHeaders).is_allowed());
        let other = "/sockshop.orders.v1.OrderService/CancelOrder";
        assert!(!authorize(&rules, EDGE, other, &NoHeaders).is_allowed());
    }

    #[test]
    fn a_deny_rule_wins_over_an_allow_rule() {
        let rules = inbound(
            vec![rule("no-cancel", &[], &["*/CancelOrder"])],
            vec![rule("all", &["*"], &[])],
        );
        assert!(authorize(&rules, EDGE, PLACE, &NoHeaders).is_allowed());
        let denied = authorize(
            &rules,
            EDGE,
            "/sockshop.orders.v1.OrderService/CancelOrder",
            &NoHeaders,
        );
        assert_eq!(denied.rule(), "no-cancel");
        assert!(!denied.is_allowed());
    }

    #[test]
    fn all_headers_of_a_rule_must_match() {
        let header = |name: &str, value: TextMatch| HeaderMatch {
            name: name.to_owned(),
            value,
        };
        let mut tenant = rule("tenant", &[], &[]);
        tenant.headers = vec![
            header("x-tenant", TextMatch::Exact("a".to_owned())),
            header("x-user", TextMatch::Present),
        ];
        let rules = inbound(vec![], vec![tenant.clone()]);
        let decide = |rules: &Inbound, headers: &[(&str, &str)]| {
            authorize(rules, EDGE, PLACE, &headers).rule().to_owned()
        };
        assert_eq!(
            decide(&rules, &[("x-tenant", "a"), ("x-user", "1")]),
            "tenant"
        );
        assert_eq!(decide(&rules, &[("x-tenant", "a")]), "default-deny");
        let everybody = rule("all", &[], &[]);
        let rules = inbound(vec![tenant], vec![everybody.clone()]);
        assert_eq!(
            decide(&rules, &[("x-tenant", "a"), ("x-user", "1")]),
            "tenant"
        );
        assert_eq!(decide(&rules, &[("x-tenant", "b"), ("x-user", "1")]), "all");
        let mut broken = rule("broken", &[], &[]);
        broken.headers = vec![header("x-tenant", TextMatch::Regex("(".to_owned()))];
        let rules = inbound(vec![broken], vec![everybody]);
        assert_eq!(decide(&rules, &[]), "broken");
    }
}
