//! Caller rules: deny rules first, then allow rules, then no.

use weft_model::dataplane::{AuthzRule, Inbound};

use crate::matcher::any;

/// What the caller rules say about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The named allow rule matches and no deny rule does.
    Allowed {
        /// The rule's name in the mesh file.
        rule: String,
    },
    /// The named deny rule matches.
    Denied {
        /// The rule's name in the mesh file.
        rule: String,
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
/// rules for every method, and the workload will not serve it.
pub fn authorize(inbound: &Inbound, caller: &str, path: &str) -> Decision {
    let find = |rules: &[AuthzRule]| {
        rules
            .iter()
            .find(|rule| matches(rule, caller, path))
            .map(|rule| rule.name.clone())
    };
    if let Some(rule) = find(&inbound.deny_rules) {
        return Decision::Denied { rule };
    }
    match find(&inbound.allow_rules) {
        Some(rule) => Decision::Allowed { rule },
        None => Decision::DeniedByDefault,
    }
}

fn matches(rule: &AuthzRule, caller: &str, path: &str) -> bool {
    any(&rule.principals, caller) && any(&rule.paths, path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let decision = authorize(&inbound(vec![], vec![]), EDGE, PLACE);
        assert_eq!(decision, Decision::DeniedByDefault);
        assert_eq!(decision.rule(), "default-deny");
    }

    #[test]
    fn an_allow_rule_names_caller_and_method() {
        let rules = inbound(vec![], vec![rule("edge-places", &[EDGE], &[PLACE])]);
        let allowed = Decision::Allowed {
            rule: "edge-places".to_owned(),
        };
        assert_eq!(authorize(&rules, EDGE, PLACE), allowed);
        assert!(!authorize(&rules, ORDERS, PLACE).is_allowed());
        let other = "/sockshop.orders.v1.OrderService/CancelOrder";
        assert!(!authorize(&rules, EDGE, other).is_allowed());
    }

    #[test]
    fn a_deny_rule_wins_over_an_allow_rule() {
        let rules = inbound(
            vec![rule("no-cancel", &[], &["*/CancelOrder"])],
            vec![rule("all", &["*"], &[])],
        );
        assert!(authorize(&rules, EDGE, PLACE).is_allowed());
        let denied = authorize(&rules, EDGE, "/sockshop.orders.v1.OrderService/CancelOrder");
        assert_eq!(denied.rule(), "no-cancel");
        assert!(!denied.is_allowed());
    }
}
