//! Conditions on headers, and changes of them.

use weft_model::dataplane::{HeaderMatch, TextMatch};

use crate::proto::envoy::{
    config::{
        core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
};

pub(super) fn matcher(header: &HeaderMatch) -> HeaderMatcher {
    let specifier = match &header.value {
        TextMatch::Exact(text) => string(MatchPattern::Exact(text.clone())),
        TextMatch::Prefix(text) => string(MatchPattern::Prefix(text.clone())),
        TextMatch::Suffix(text) => string(MatchPattern::Suffix(text.clone())),
        TextMatch::Regex(text) => string(MatchPattern::SafeRegex(RegexMatcher {
            regex: text.clone(),
            ..Default::default()
        })),
        TextMatch::Present => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher {
        name: header.name.clone(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

fn string(pattern: MatchPattern) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    })
}

/// What is set first, then what is added.
pub(super) fn changes(
    set: &[(String, String)],
    add: &[(String, String)],
) -> Vec<HeaderValueOption> {
    let option = |action: HeaderAppendAction| {
        move |(name, value): &(String, String)| HeaderValueOption {
            header: Some(HeaderValue {
                key: name.clone(),
                // `%` begins a variable.
                value: value.replace('%', "%%"),
                ..Default::default()
            }),
            append_action: action as i32,
            ..Default::default()
        }
    };
    let set = set
        .iter()
        .map(option(HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = add
        .iter()
        .map(option(HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}
