//! What a rule applies to.

use serde::{Deserialize, Serialize};
/// A gRPC service config `name`: both empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodMatch {
    /// Fully qualified service, `sockshop.orders.v1.OrderService`.
    pub service: Option<String>,
    /// Method, `GetOrder`. Only with a service.
    pub method: Option<String>,
}

impl MethodMatch {
    /// Whether `path` (`/sockshop.orders.v1.OrderService/GetOrder`) is matched.
    pub fn matches(&self, path: &str) -> bool {
        let Some(service) = &self.service else {
            return true;
        };
        let Some((found_service, found_method)) =
            path.strip_prefix('/').and_then(|rest| rest.split_once('/'))
        else {
            return false;
        };
        found_service == service
            && self
                .method
                .as_ref()
                .is_none_or(|method| method == found_method)
    }
}

/// A request header and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// What the value must be. A header that came more than once is its values joined by `,`.
    pub value: TextMatch,
}

/// How a text must look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextMatch {
    /// Exactly so.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// It ends so.
    Suffix(String),
    /// The header is there, whatever its value.
    Present,
    /// The whole value matches this regular expression.
    Regex(String),
}

/// Whether `text` is a regular expression that every part of the mesh understands: the syntax of the
/// crate `regex-lite`, which is RE2's without Unicode classes.
///
/// # Errors
///
/// Why it is not.
pub fn check_regex(text: &str) -> Result<(), String> {
    const MAX_PROGRAM_BYTES: usize = 64 * 1024;
    // As it is compiled where it is used: to match the whole text.
    regex_lite::RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map(drop)
        .map_err(|error| error.to_string())
}
