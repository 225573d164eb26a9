//! What was wrong with a request or a message, and in which field.

use std::fmt;

/// Why a request or a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The text is no JSON.
    InvalidJson,
    /// A field the message does not have.
    UnknownField,
    /// A value of another type than the field's.
    WrongType,
    /// A number or text outside of what the type can hold.
    OutOfRange,
    /// A field, map key or oneof given twice.
    DuplicateField,
    /// Nested deeper than [`crate::MAX_DEPTH`].
    TooDeep,
    /// Path, query and body disagree about a field.
    ConflictingValues,
    /// The path is not valid percent-encoded UTF-8.
    InvalidPath,
    /// A query parameter the method does not take.
    UnknownParameter,
    /// A query parameter that is malformed or not allowed here.
    InvalidParameter,
    /// A body where the method takes none.
    UnexpectedBody,
    /// Bytes that are no valid message of the type: an upstream's fault, not the caller's.
    InvalidMessage,
}

impl Reason {
    /// As it is written in `google.rpc.ErrorInfo.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::WrongType => "WRONG_TYPE",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::DuplicateField => "DUPLICATE_FIELD",
            Self::TooDeep => "TOO_DEEP",
            Self::ConflictingValues => "CONFLICTING_VALUES",
            Self::InvalidPath => "INVALID_PATH",
            Self::UnknownParameter => "UNKNOWN_PARAMETER",
            Self::InvalidParameter => "INVALID_PARAMETER",
            Self::UnexpectedBody => "UNEXPECTED_BODY",
            Self::InvalidMessage => "INVALID_MESSAGE",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal: the reason, the field by its path as the caller wrote it, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of fault.
    pub reason: Reason,
    /// `order.lines[2].quantity`; empty where the whole text is at fault.
    pub field: String,
    /// What was wrong, without the field's name.
    pub message: String,
}

/// What most functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: String::new(),
            message: message.into(),
        }
    }

    pub(crate) fn wrong_type(expected: &str, found: &str) -> Self {
        Self::new(
            Reason::WrongType,
            format!("expected {expected}, found {found}"),
        )
    }

    /// The same error, seen from the message or list that holds the value.
    pub(crate) fn in_field(mut self, name: &str) -> Self {
        if self.field.is_empty() {
            self.field.push_str(name);
        } else if self.field.starts_with('[') {
            self.field.insert_str(0, name);
        } else {
            self.field = format!("{name}.{}", self.field);
        }
        self
    }

    pub(crate) fn in_element(self, index: usize) -> Self {
        self.in_field(&format!("[{index}]"))
    }

    pub(crate) fn in_key(self, key: &str) -> Self {
        self.in_field(&format!("[{key:?}]"))
    }
}

/// The candidate nearest to `given`, for "did you mean": at most a third of the letters differ.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_lowercase();
    let limit = (given.chars().count() + 1).max(3) / 3;
    candidates
        .map(|name| (distance(&given, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance of two short texts.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_built_from_the_inside_out() {
        let error = Error::new(Reason::WrongType, "x")
            .in_field("quantity")
            .in_element(2)
            .in_field("lines")
            .in_field("order");
        assert_eq!(error.field, "order.lines[2].quantity");
        let error = Error::new(Reason::WrongType, "x")
            .in_key("a.b")
            .in_field("labels");
        assert_eq!(error.field, "labels[\"a.b\"]");
    }

    #[test]
    fn nearest_name_is_found_or_none() {
        let names = ["quantity", "product", "pageSize"];
        assert_eq!(nearest("quantty", names.into_iter()), Some("quantity"));
        assert_eq!(nearest("pagesize", names.into_iter()), Some("pageSize"));
        assert_eq!(nearest("colour", names.into_iter()), None);
    }
}
