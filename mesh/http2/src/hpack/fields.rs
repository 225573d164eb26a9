//! The static table, and which bytes fields may have.

use crate::{Name, words};

/// RFC 7541, appendix A. The first entry has index 1.
pub(super) static STATIC: [(Name, &str); 61] = [
    (Name::Authority, ""),
    (Name::Method, "GET"),
    (Name::Method, "POST"),
    (Name::Path, "/"),
    (Name::Path, "/index.html"),
    (Name::Scheme, "http"),
    (Name::Scheme, "https"),
    (Name::Status, "200"),
    (Name::Status, "204"),
    (Name::Status, "206"),
    (Name::Status, "304"),
    (Name::Status, "400"),
    (Name::Status, "404"),
    (Name::Status, "500"),
    (Name::AcceptCharset, ""),
    (Name::AcceptEncoding, "gzip, deflate"),
    (Name::AcceptLanguage, ""),
    (Name::AcceptRanges, ""),
    (Name::Accept, ""),
    (Name::AccessControlAllowOrigin, ""),
    (Name::Age, ""),
    (Name::Allow, ""),
    (Name::Authorization, ""),
    (Name::CacheControl, ""),
    (Name::ContentDisposition, ""),
    (Name::ContentEncoding, ""),
    (Name::ContentLanguage, ""),
    (Name::ContentLength, ""),
    (Name::ContentLocation, ""),
    (Name::ContentRange, ""),
    (Name::ContentType, ""),
    (Name::Cookie, ""),
    (Name::Date, ""),
    (Name::Etag, ""),
    (Name::Expect, ""),
    (Name::Expires, ""),
    (Name::From, ""),
    (Name::Host, ""),
    (Name::IfMatch, ""),
    (Name::IfModifiedSince, ""),
    (Name::IfNoneMatch, ""),
    (Name::IfRange, ""),
    (Name::IfUnmodifiedSince, ""),
    (Name::LastModified, ""),
    (Name::Link, ""),
    (Name::Location, ""),
    (Name::MaxForwards, ""),
    (Name::ProxyAuthenticate, ""),
    (Name::ProxyAuthorization, ""),
    (Name::Range, ""),
    (Name::Referer, ""),
    (Name::Refresh, ""),
    (Name::RetryAfter, ""),
    (Name::Server, ""),
    (Name::SetCookie, ""),
    (Name::StrictTransportSecurity, ""),
    (Name::TransferEncoding, ""),
    (Name::UserAgent, ""),
    (Name::Vary, ""),
    (Name::Via, ""),
    (Name::WwwAuthenticate, ""),
];

/// The first index of each name in the static table, 0 if it is not there.
static FIRST: [u8; Name::Other as usize + 1] = first();

const fn first() -> [u8; Name::Other as usize + 1] {
    let mut first = [0; Name::Other as usize + 1];
    let mut at = STATIC.len();
    while at > 0 {
        first[STATIC[at - 1].0 as usize] = at as u8;
        at -= 1;
    }
    first
}

/// The first index of a name in the static table, or 0.
pub(super) fn static_name(name: Name) -> usize {
    usize::from(FIRST[name as usize])
}

/// How many entries of the static table have this name and a value.
static VALUES: [u8; Name::Other as usize + 1] = values();

const fn values() -> [u8; Name::Other as usize + 1] {
    let mut values = [0; Name::Other as usize + 1];
    let mut at = 0;
    while at < STATIC.len() {
        if !STATIC[at].1.is_empty() {
            values[STATIC[at].0 as usize] += 1;
        }
        at += 1;
    }
    values
}

/// The index of a field in the static table, or 0.
#[inline]
pub(super) fn static_field(name: Name, value: &[u8]) -> usize {
    match VALUES[name as usize] {
        0 => 0,
        count => static_value(static_name(name), usize::from(count), value),
    }
}

fn static_value(first: usize, count: usize, value: &[u8]) -> usize {
    let same = STATIC[first - 1..][..count].iter();
    same.zip(first..)
        .find(|((_, text), _)| text.as_bytes() == value)
        .map_or(0, |(_, index)| index)
}

/// Lower-case token characters (RFC 9110, section 5.6.2).
static TOKEN: [bool; 256] = token();

const fn token() -> [bool; 256] {
    let mut token = [false; 256];
    let mut at = 0;
    while at < 256 {
        token[at] = matches!(at as u8,
            b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
            | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        at += 1;
    }
    token
}

/// Whether a field may have this unknown name. A pseudo-header field may not.
pub(super) fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Whether a value has NUL, CR or LF, which no field may have (RFC 9113, section 8.2.1).
pub(super) fn has_forbidden_bytes(value: &[u8]) -> bool {
    // Text hardly ever has bytes as low as the forbidden ones.
    words::any(value, |word| words::below(word, b'\r' + 1))
        && value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// Whether a value begins or ends with a space, which none may (ibidem).
#[inline]
pub(super) fn has_space_around(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}
