//! String matchers as the wildcard patterns of gRFC A43, header matchers, header changes.

use weft_model::dataplane::{HeaderChanges, HeaderMatch, TextMatch, check_regex};

use super::{Invalid, named, required, unsupported};
use crate::proto::envoy::{
    config::{
        core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction},
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

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

/// A condition on a header.
pub(super) fn header(matcher: &HeaderMatcher) -> Result<HeaderMatch, Invalid> {
    unsupported("invert_match", matcher.invert_match)?;
    unsupported(
        "treat_missing_header_as_empty",
        matcher.treat_missing_header_as_empty,
    )?;
    let value = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::PresentMatch(true)) => TextMatch::Present,
        Some(HeaderMatchSpecifier::StringMatch(text)) => {
            text_match(text).map_err(|e| e.within("string_match"))?
        }
        _ => {
            let reason = "only `string_match` and `present_match` are supported";
            return Err(Invalid::new("header_match_specifier", reason));
        }
    };
    Ok(HeaderMatch {
        name: named("name", matcher.name.to_ascii_lowercase())?,
        value,
    })
}

fn text_match(matcher: &StringMatcher) -> Result<TextMatch, Invalid> {
    unsupported("ignore_case", matcher.ignore_case)?;
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(TextMatch::Exact(text.clone())),
        Some(MatchPattern::Prefix(text)) => Ok(TextMatch::Prefix(text.clone())),
        Some(MatchPattern::Suffix(text)) => Ok(TextMatch::Suffix(text.clone())),
        Some(MatchPattern::SafeRegex(found)) => {
            check_regex(&found.regex).map_err(|reason| Invalid::new("safe_regex.regex", reason))?;
            Ok(TextMatch::Regex(found.regex.clone()))
        }
        _ => Err(Invalid::new(
            "match_pattern",
            "only `exact`, `prefix`, `suffix` and `safe_regex` are supported",
        )),
    }
}

/// A header's name and value, and whether they replace what was there.
#[expect(deprecated, reason = "control planes still send `append`")]
fn header_change(option: &HeaderValueOption) -> Result<(bool, (String, String)), Invalid> {
    let found = required("header", option.header.as_ref())?;
    unsupported("header.raw_value", !found.raw_value.is_empty())?;
    let name = named("header.key", found.key.to_ascii_lowercase())?;
    let literal = found.value.replace("%%", "");
    unsupported("header.value with `%` variables", literal.contains('%'))?;
    let is_set = match (option.append, option.append_action()) {
        (Some(append), HeaderAppendAction::AppendIfExistsOrAdd) => !append,
        (None, HeaderAppendAction::AppendIfExistsOrAdd) => false,
        (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => true,
        (_, action) => {
            let reason = format!("`{}` is not supported", action.as_str_name());
            return Err(Invalid::new("append_action", reason));
        }
    };
    Ok((is_set, (name, found.value.replace("%%", "%"))))
}

/// Sets first, then adds, as we encode them.
pub(super) fn changes(
    path: &str,
    changed: &[HeaderValueOption],
    removed: &[String],
) -> Result<HeaderChanges, Invalid> {
    let mut changes = HeaderChanges {
        remove: removed
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        ..HeaderChanges::default()
    };
    for (at, option) in changed.iter().enumerate() {
        let within = |e: Invalid| e.within(format!("{path}[{at}]"));
        let (is_set, pair) = header_change(option).map_err(within)?;
        match is_set {
            true => changes.set.push(pair),
            false => changes.add.push(pair),
        }
    }
    Ok(changes)
}
