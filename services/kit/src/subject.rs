//! Who the end user is. The edge has verified it; services only read it.

use std::fmt;

use tonic::{Request, Status, metadata::MetadataValue};

use crate::status;

/// The metadata key under which the edge names the end user.
pub const SUBJECT_HEADER: &str = "x-weft-subject";

/// The end user on whose behalf a call is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// The resource name, `customers/{customer}`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The `{customer}` part.
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }

    /// Reads a resource name `customers/{customer}`.
    pub fn parse(name: &str) -> Option<Self> {
        let id = name.strip_prefix("customers/")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!id.is_empty() && id.len() <= 128 && id.chars().all(plain)).then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end user of a call.
///
/// # Errors
///
/// `UNAUTHENTICATED` (reason `SUBJECT_MISSING`) if the call is made for nobody.
pub fn subject<T>(request: &Request<T>) -> Result<Subject, Status> {
    optional_subject(request)?.ok_or_else(|| {
        status::unauthenticated(
            "SUBJECT_MISSING",
            "the call names no customer: log in first",
        )
    })
}

/// The end user of a call that guests may make too.
///
/// # Errors
///
/// `UNAUTHENTICATED` (reason `SUBJECT_INVALID`) if the name is malformed.
pub fn optional_subject<T>(request: &Request<T>) -> Result<Option<Subject>, Status> {
    let Some(value) = request.metadata().get(SUBJECT_HEADER) else {
        return Ok(None);
    };
    let subject = value.to_str().ok().and_then(Subject::parse);
    subject.map(Some).ok_or_else(|| {
        status::unauthenticated("SUBJECT_INVALID", "the call names no valid customer")
    })
}

/// Makes an outgoing call on behalf of the same end user.
pub fn forward_subject<T>(subject: &Subject, request: &mut Request<T>) {
    // A parsed subject holds only characters that metadata may hold.
    if let Ok(value) = MetadataValue::try_from(subject.name()) {
        request.metadata_mut().insert(SUBJECT_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_travels_in_metadata() {
        let mut request = Request::new(());
        assert_eq!(
            subject(&request).unwrap_err().code(),
            tonic::Code::Unauthenticated
        );
        assert_eq!(optional_subject(&request).unwrap(), None);

        forward_subject(&Subject::parse("customers/7").unwrap(), &mut request);
        assert_eq!(subject(&request).unwrap().id(), "7");
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "customers/",
            "orders/1",
            "customers/a/b",
            "customers/a b",
            "",
        ] {
            assert_eq!(Subject::parse(name), None, "{name}");
        }
    }
}
