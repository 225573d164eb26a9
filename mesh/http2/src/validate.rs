//! Which header blocks are messages (RFC 9113, section 8).

use crate::{HeaderBlock, Name, Names, words};

/// What the connection needs to know of a valid block.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    pub content_length: Option<u64>,
    /// A response with a 1xx status.
    pub informational: bool,
    /// A response that has no payload whatever its content-length says.
    pub no_content: bool,
}

const OF_REQUEST: Names = Names::of([Name::Method, Name::Scheme, Name::Path, Name::Authority]);
const OF_RESPONSE: Names = Names::of([Name::Status]);
const CONNECTION_SPECIFIC: Names = Names::of([
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::TransferEncoding,
    Name::Upgrade,
]);

type Checked = Result<Facts, &'static str>;

pub(crate) fn request(block: &HeaderBlock) -> Checked {
    let facts = common(block, OF_RESPONSE)?;
    let method = block.get(Name::Method).ok_or("request without :method")?;
    if method == b"CONNECT" {
        if block.contains(Name::Scheme) || block.contains(Name::Path) {
            return Err("CONNECT with :scheme or :path");
        }
        block
            .get(Name::Authority)
            .ok_or("CONNECT without :authority")?;
    } else {
        block.get(Name::Scheme).ok_or("request without :scheme")?;
        let path = block.get(Name::Path).ok_or("request without :path")?;
        let has_hidden = words::any(path, is_hidden);
        let form = path.first() == Some(&b'/') || (path == b"*" && method == b"OPTIONS");
        if has_hidden || !form {
            return Err("invalid :path");
        }
    }
    if let Some(authority) = block.get(Name::Authority) {
        let is_wrong = |word| is_hidden(word) | words::equal(word, b'@') | words::equal(word, b'/');
        if words::any(authority, is_wrong) {
            return Err("invalid :authority");
        }
        if block
            .values(Name::Host)
            .any(|host| !host.eq_ignore_ascii_case(authority))
        {
            return Err("host differs from :authority");
        }
    }
    Ok(facts)
}

/// Bytes that are no visible characters of ASCII.
fn is_hidden(word: u64) -> u64 {
    words::below(word, b'!') | words::above(word, b'~')
}

pub(crate) fn response(block: &HeaderBlock) -> Checked {
    let mut facts = common(block, OF_REQUEST)?;
    match *block.get(Name::Status).ok_or("response without :status")? {
        [b'1', b'0', b'1'] => return Err(":status 101 does not exist in HTTP/2"),
        [first @ b'1'..=b'9', second, third]
            if second.is_ascii_digit() && third.is_ascii_digit() =>
        {
            facts.informational = first == b'1';
            facts.no_content = matches!(
                (first, second, third),
                (b'2', b'0', b'4') | (b'3', b'0', b'4')
            );
        }
        _ => return Err("invalid :status"),
    }
    Ok(facts)
}

pub(crate) fn trailers(block: &HeaderBlock) -> Checked {
    common(block, OF_REQUEST.and(OF_RESPONSE))
}

/// What holds for every block, and that none of the `forbidden` pseudo-header fields is there.
fn common(block: &HeaderBlock, forbidden: Names) -> Checked {
    if block.has_invalid_bytes() {
        return Err("invalid bytes in a header field");
    }
    if block.contains_any(forbidden) {
        return Err("pseudo-header field where it does not belong");
    }
    if block.contains_any(CONNECTION_SPECIFIC) {
        return Err("connection-specific header field");
    }
    if block.values(Name::Te).any(|te| te != b"trailers") {
        return Err("te is not trailers");
    }
    if let Some(reason) = block.misplaced_pseudo() {
        return Err(reason);
    }
    Ok(Facts {
        content_length: content_length(block)?,
        ..Facts::default()
    })
}

fn content_length(block: &HeaderBlock) -> Result<Option<u64>, &'static str> {
    if !block.contains(Name::ContentLength) {
        return Ok(None);
    }
    let mut found = None;
    for value in block.values(Name::ContentLength) {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err("invalid content-length");
        }
        let length = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let length = length.ok_or("invalid content-length")?;
        if found.is_some_and(|other| other != length) {
            return Err("content-length twice");
        }
        found = Some(length);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Decoder;

    /// The block as it comes from the wire: in this order, with forbidden bytes marked.
    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut input = Vec::new();
        for (name, value) in fields {
            input.extend([0, name.len() as u8]);
            input.extend_from_slice(name.as_bytes());
            input.push(value.len() as u8);
            input.extend_from_slice(value.as_bytes());
        }
        let mut block = HeaderBlock::new();
        Decoder::new(10_000).decode(&input, &mut block).unwrap();
        block
    }

    const GOOD: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.B/C"),
        (":authority", "orders:80"),
    ];

    fn with(more: &[(&str, &str)]) -> Checked {
        request(&block(&[&GOOD[..], more].concat()))
    }

    fn but(name: &str, value: Option<&str>) -> Checked {
        let fields = GOOD.iter().filter_map(|&(other, old)| {
            if other == name {
                value.map(|value| (other, value))
            } else {
                Some((other, old))
            }
        });
        request(&block(&fields.collect::<Vec<_>>()))
    }

    #[test]
    fn a_request_needs_its_pseudo_header_fields_once_and_first() {
        assert_eq!(
            with(&[("te", "trailers"), ("x", "y")]),
            Ok(Facts::default())
        );
        for name in [":method", ":scheme", ":path"] {
            assert!(but(name, None).is_err(), "{name}");
            let (_, value) = *GOOD.iter().find(|(other, _)| *other == name).unwrap();
            assert_eq!(with(&[(name, value)]), Err("pseudo-header field twice"));
            assert_eq!(
                with(&[("x", "y"), (name, value)]),
                Err("pseudo-header field after others")
            );
        }
        assert!(but(":authority", None).is_ok());
        assert!(with(&[(":status", "200")]).is_err());
        assert!(with(&[(":protocol", "websocket")]).is_err());
    }

    #[test]
    fn paths_and_authorities_have_a_form() {
        for path in ["", "a", "*", "/a b", "/\u{e4}", "/\u{7f}"] {
            assert_eq!(but(":path", Some(path)), Err("invalid :path"), "{path}");
        }
        for authority in ["user@orders", "orders/x", "or ders", "or\u{1}ders"] {
            assert_eq!(
                but(":authority", Some(authority)),
                Err("invalid :authority")
            );
        }
        assert!(with(&[("host", "ORDERS:80")]).is_ok());
        assert_eq!(
            with(&[("host", "payments")]),
            Err("host differs from :authority")
        );
        let options = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")];
        assert!(request(&block(&options)).is_ok());
    }

    #[test]
    fn connect_has_an_authority_and_no_path() {
        assert!(request(&block(&[(":method", "CONNECT"), (":authority", "a:1")])).is_ok());
        assert!(request(&block(&[(":method", "CONNECT")])).is_err());
        assert!(but(":method", Some("CONNECT")).is_err());
    }

    #[test]
    fn fields_of_a_connection_are_refused() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ] {
            assert_eq!(
                with(&[(name, "x")]),
                Err("connection-specific header field")
            );
        }
        assert_eq!(with(&[("te", "gzip")]), Err("te is not trailers"));
        assert_eq!(
            with(&[("te", "trailers"), ("te", "deflate")]),
            Err("te is not trailers")
        );
    }

    #[test]
    fn bytes_that_smuggle_are_refused() {
        for (name, value) in [
            ("X", "y"),
            ("x", "a\r\nb"),
            ("x", "\0"),
            ("x", " a"),
            ("x", "a "),
        ] {
            assert_eq!(
                with(&[(name, value)]),
                Err("invalid bytes in a header field")
            );
        }
    }

    #[test]
    fn content_length_is_one_number() {
        let length = |text| with(&[("content-length", text)]).map(|facts| facts.content_length);
        assert_eq!(length("17"), Ok(Some(17)));
        for text in ["", "-1", "+1", "1,1", "99999999999999999999"] {
            assert_eq!(length(text), Err("invalid content-length"), "{text}");
        }
        assert!(with(&[("content-length", "1"), ("content-length", "1")]).is_ok());
        let twice = with(&[("content-length", "1"), ("content-length", "2")]);
        assert_eq!(twice, Err("content-length twice"));
    }

    #[test]
    fn a_response_has_one_status_of_three_digits() {
        let status = |text| response(&block(&[(":status", text)]));
        assert!(!status("200").unwrap().informational);
        assert!(status("103").unwrap().informational);
        assert!(status("304").unwrap().no_content);
        for text in ["", "20", "2000", "20x", "099", "101"] {
            assert!(status(text).is_err(), "{text}");
        }
        assert!(response(&block(&[("x", "y")])).is_err());
        assert!(response(&block(&[(":status", "200"), (":path", "/")])).is_err());
        assert!(response(&block(&[(":status", "200"), (":status", "200")])).is_err());
    }

    #[test]
    fn trailers_have_no_pseudo_header_fields() {
        assert!(trailers(&block(&[("grpc-status", "0")])).is_ok());
        assert!(trailers(&block(&[(":status", "200")])).is_err());
        assert!(trailers(&block(&[(":path", "/")])).is_err());
    }
}
