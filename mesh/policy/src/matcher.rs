//! Conditions on texts and headers, made ready once so that a call only compares.

use regex_lite::Regex;
use weft_model::dataplane::{HeaderMatch, TextMatch};

use crate::facts::Headers;

/// A condition on one header.
#[derive(Clone, Debug)]
pub(crate) struct HeaderMatcher {
    name: String,
    value: TextMatcher,
}

#[derive(Clone, Debug)]
enum TextMatcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Present,
    Regex(Regex),
    /// An expression that does not compile. The mesh file's reader refuses it; configuration that came
    /// another way must still never open a door: see [`HeaderMatcher::matches`].
    Broken,
}

impl HeaderMatcher {
    pub(crate) fn new(rule: &HeaderMatch) -> Self {
        let value = match &rule.value {
            TextMatch::Exact(text) => TextMatcher::Exact(text.clone()),
            TextMatch::Prefix(text) => TextMatcher::Prefix(text.clone()),
            TextMatch::Suffix(text) => TextMatcher::Suffix(text.clone()),
            TextMatch::Present => TextMatcher::Present,
            TextMatch::Regex(text) => {
                let whole = Regex::new(&format!("^(?:{text})$"));
                whole.map_or(TextMatcher::Broken, TextMatcher::Regex)
            }
        };
        Self {
            name: rule.name.clone(),
            value,
        }
    }

    /// Whether the header is as wanted. `if_broken` is the answer where the condition makes no sense:
    /// `true` in a rule that denies, `false` in every other.
    pub(crate) fn matches(&self, headers: &dyn Headers, if_broken: bool) -> bool {
        if matches!(self.value, TextMatcher::Broken) {
            return if_broken;
        }
        let Some(found) = headers.get(&self.name) else {
            return false;
        };
        match &self.value {
            TextMatcher::Exact(text) => found == text.as_str(),
            TextMatcher::Prefix(text) => found.starts_with(text.as_str()),
            TextMatcher::Suffix(text) => found.ends_with(text.as_str()),
            TextMatcher::Present => true,
            TextMatcher::Regex(regex) => regex.is_match(&found),
            TextMatcher::Broken => if_broken,
        }
    }
}

/// gRFC A43: `*` alone matches all that is not empty, `a*` a prefix, `*a` a suffix, all else exactly.
pub(crate) fn wildcard(pattern: &str, value: &str) -> bool {
    if pattern == "*" {
        return !value.is_empty();
    }
    if let Some(prefix) = pattern.strip_suffix('*') {
        return value.starts_with(prefix);
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        return value.ends_with(suffix);
    }
    pattern == value
}

/// Whether one of the patterns matches; no pattern at all matches everything.
pub(crate) fn any(patterns: &[String], value: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(value: TextMatch, headers: &[(&str, &str)]) -> bool {
        let name = "x-version".to_owned();
        let matcher = HeaderMatcher::new(&HeaderMatch { name, value });
        matcher.matches(&headers, false)
    }

    #[test]
    fn every_kind_compares_the_whole_value() {
        let v2 = [("x-version", "v2-beta")];
        assert!(matches(TextMatch::Exact("v2-beta".into()), &v2));
        assert!(!matches(TextMatch::Exact("v2".into()), &v2));
        assert!(matches(TextMatch::Prefix("v2".into()), &v2));
        assert!(matches(TextMatch::Suffix("beta".into()), &v2));
        assert!(matches(TextMatch::Present, &v2));
        assert!(!matches(TextMatch::Present, &[]));
        assert!(matches(TextMatch::Regex("v[0-9]-.*".into()), &v2));
        assert!(!matches(TextMatch::Regex("v[0-9]".into()), &v2));
        assert!(!matches(TextMatch::Regex("a|v2".into()), &v2));
    }

    #[test]
    fn a_header_that_came_twice_is_its_values_joined() {
        let twice = [("x-version", "v1"), ("x-version", "v2")];
        assert!(matches(TextMatch::Exact("v1,v2".into()), &twice));
        assert!(!matches(TextMatch::Exact("v1".into()), &twice));
    }

    #[test]
    fn a_broken_expression_answers_what_is_safe() {
        let rule = HeaderMatch {
            name: "a".into(),
            value: TextMatch::Regex("(".into()),
        };
        let matcher = HeaderMatcher::new(&rule);
        assert!(matcher.matches(&crate::facts::NoHeaders, true));
        assert!(!matcher.matches(&crate::facts::NoHeaders, false));
    }

    #[test]
    fn a_star_matches_a_prefix_a_suffix_or_any_caller_but_no_empty_one() {
        let edge = "spiffe://sockshop.local/ns/shop/sa/edge";
        assert!(wildcard("/a.B/*", "/a.B/C"));
        assert!(!wildcard("/a.B/*", "/a.BB/C"));
        assert!(wildcard("*/sa/edge", edge));
        assert!(!wildcard(
            "*/sa/edge",
            "spiffe://sockshop.local/ns/shop/sa/orders"
        ));
        assert!(!wildcard("*", ""));
        assert!(!wildcard(edge, "spiffe://sockshop.local/ns/shop/sa/edge2"));
    }
}
