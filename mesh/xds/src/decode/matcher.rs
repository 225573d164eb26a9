//! String matchers as the wildcard patterns of gRFC A43.

use super::{Invalid, required, unsupported};
use crate::proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

pub(super) fn pattern(matcher: Option<&StringMatcher>) -> Result<String, Invalid> {
    let matcher = required("string_match", matcher)?;
    unsupported("ignore_case", matcher.ignore_case)?;
    let text = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => text,
        Some(MatchPattern::Prefix(text)) => &format!("{text}*"),
        Some(MatchPattern::Suffix(text)) => &format!("*{text}"),
        Some(_) => {
            let reason = "only `exact`, `prefix` and `suffix` are supported";
            return Err(Invalid::new("match_pattern", reason));
        }
        None => return Err(Invalid::new("match_pattern", "required")),
    };
    let stars = text.matches('*').count();
    let is_literal = matches!(matcher.match_pattern, Some(MatchPattern::Exact(_)));
    if stars > usize::from(!is_literal) {
        return Err(Invalid::new(
            "match_pattern",
            "a literal `*` is not supported",
        ));
    }
    Ok(text.clone())
}

/// A matcher that names exactly one text.
pub(super) fn exact(matcher: &StringMatcher) -> Result<String, Invalid> {
    unsupported("ignore_case", matcher.ignore_case)?;
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(text.clone()),
        _ => Err(Invalid::new("match_pattern", "only `exact` is supported")),
    }
}
