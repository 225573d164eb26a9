//! Identifiers.

use uuid::Uuid;

/// A new id for a row or a resource: a UUID version 7 as text, which sorts by the time it was made.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A new id that cannot be guessed and does not tell when it was made: a UUID version 4 as text.
pub fn new_secret() -> String {
    Uuid::new_v4().to_string()
}

/// A UUID that follows from `name` alone: the same name gives the same id. For request ids of calls
/// that a saga repeats after a crash.
pub fn derived_id(name: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// Whether a text is a UUID in the usual form of 36 characters.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_repeat_and_differ() {
        assert_eq!(derived_id("a"), derived_id("a"));
        assert_ne!(derived_id("a"), derived_id("b"));
        assert!(is_uuid(&derived_id("a")));
    }
}
