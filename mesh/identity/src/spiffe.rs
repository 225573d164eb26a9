//! SPIFFE IDs and trust domains, by the SPIFFE-ID specification.

use std::{fmt, str::FromStr, sync::Arc};

const SCHEME: &str = "spiffe://";
const MAX_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Why a text is not a SPIFFE ID or trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a SPIFFE ID: {reason}", text.escape_default())]
pub struct InvalidSpiffeId {
    text: String,
    reason: &'static str,
}

impl InvalidSpiffeId {
    fn new(text: &str, reason: &'static str) -> Self {
        let text = text.chars().take(256).collect();
        Self { text, reason }
    }
}

/// The part of a SPIFFE ID that says whose authorities may vouch for it: `sockshop.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a name such as `sockshop.local`: lower-case letters, digits, `.`, `-`, `_`.
    ///
    /// # Errors
    /// If it is empty, longer than 255 bytes or has any other character.
    pub fn new(name: &str) -> Result<Self, InvalidSpiffeId> {
        check_trust_domain(name).map_err(|reason| InvalidSpiffeId::new(name, reason))?;
        Ok(Self(name.into()))
    }

    /// The name, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own URI, as the root certificate carries it.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

/// The name of a workload: `spiffe://sockshop.local/ns/shop/sa/orders`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    path_start: usize,
}

impl SpiffeId {
    /// Parses an ID with a path; a bare trust domain names no workload.
    ///
    /// # Errors
    /// If the text breaks a rule of the specification. Nothing is normalised.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        let invalid = |reason| InvalidSpiffeId::new(text, reason);
        if text.len() > MAX_BYTES {
            return Err(invalid("longer than 2048 bytes"));
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| invalid("it does not start with `spiffe://`"))?;
        let (trust_domain, path) = rest
            .split_once('/')
            .ok_or_else(|| invalid("it has no path"))?;
        check_trust_domain(trust_domain).map_err(invalid)?;
        path.split('/')
            .try_for_each(check_segment)
            .map_err(invalid)?;
        Ok(Self {
            text: text.into(),
            path_start: SCHEME.len() + trust_domain.len(),
        })
    }

    /// The ID of a service account, in the form that Istio uses: `/ns/<namespace>/sa/<account>`.
    ///
    /// # Errors
    /// If the namespace or the account has a character that a path segment may not have.
    pub fn workload(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, InvalidSpiffeId> {
        let text = format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}");
        [namespace, service_account]
            .into_iter()
            .try_for_each(check_segment)
            .map_err(|reason| InvalidSpiffeId::new(&text, reason))?;
        Self::parse(&text)
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.text[SCHEME.len()..self.path_start].into())
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.text[self.path_start..]
    }

    /// The namespace of `/ns/<namespace>/sa/<account>`, `None` for any other path.
    pub fn namespace(&self) -> Option<&str> {
        self.workload_parts().map(|(namespace, _)| namespace)
    }

    /// The account of `/ns/<namespace>/sa/<account>`, `None` for any other path.
    pub fn service_account(&self) -> Option<&str> {
        self.workload_parts().map(|(_, account)| account)
    }

    fn workload_parts(&self) -> Option<(&str, &str)> {
        let mut segments = self.path().split('/').skip(1);
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Some((namespace, account))
            }
            _ => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn check_trust_domain(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the trust domain is empty");
    }
    if name.len() > MAX_TRUST_DOMAIN_BYTES {
        return Err("the trust domain is longer than 255 bytes");
    }
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if !name.bytes().all(allowed) {
        return Err("a trust domain has only lower-case letters, digits, `.`, `-` and `_`");
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("a path segment is empty");
    }
    if segment == "." || segment == ".." {
        return Err("a path segment is `.` or `..`");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !segment.bytes().all(allowed) {
        return Err("a path segment has only letters, digits, `.`, `-` and `_`");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn workload_id_has_its_parts() {
        let id = SpiffeId::parse("spiffe://sockshop.local/ns/shop/sa/orders").unwrap();
        assert_eq!(id.trust_domain().as_str(), "sockshop.local");
        assert_eq!(id.path(), "/ns/shop/sa/orders");
        assert_eq!(id.namespace(), Some("shop"));
        assert_eq!(id.service_account(), Some("orders"));
        let same = SpiffeId::workload(&id.trust_domain(), "shop", "orders").unwrap();
        assert_eq!(same, id);
    }

    #[test]
    fn other_paths_name_no_service_account() {
        for path in ["/ns/shop", "/ns/shop/sa/a/b", "/x/shop/sa/a"] {
            let id = SpiffeId::parse(&format!("spiffe://td{path}")).unwrap();
            assert_eq!(id.service_account(), None, "{path}");
        }
    }

    #[test]
    fn everything_outside_the_specification_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/",
            "spiffe:///ns/a",
            "spiffe://td//a",
            "spiffe://td/a/",
            "spiffe://td/a/../b",
            "spiffe://td/.",
            "spiffe://TD/a",
            "spiffe://td:80/a",
            "spiffe://user@td/a",
            "spiffe://td/a?b",
            "spiffe://td/a#b",
            "spiffe://td/a%20b",
            "spiffe://td/ä",
            "SPIFFE://td/a",
            "https://td/a",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
        let long = format!("spiffe://td/{}", "a".repeat(2048));
        assert!(SpiffeId::parse(&long).is_err());
        let td = TrustDomain::new("td").unwrap();
        assert!(SpiffeId::workload(&td, "a/sa/b", "c").is_err());
        assert!(TrustDomain::new(&"a".repeat(256)).is_err());
    }
}
