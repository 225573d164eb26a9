//! HTTP/2 as bytes, without any rule: what an attacker writes.

/// Frame types and flags of RFC 9113, section 6.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// A header block of literals that nobody remembers.
pub fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        literal(&mut bytes, 0x00, name, value);
    }
    bytes
}

/// A literal that the other side must remember: it is index 62 then.
pub fn remembered(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    literal(&mut bytes, 0x40, name, value);
    bytes
}

/// The number of the stream that a client opens after `before` others.
pub fn stream(before: usize) -> u32 {
    u32::try_from(before * 2 + 1).unwrap_or(u32::MAX >> 1)
}

fn literal(bytes: &mut Vec<u8>, first: u8, name: &str, value: &str) {
    bytes.push(first);
    for text in [name, value] {
        length(bytes, text.len());
        bytes.extend(text.as_bytes());
    }
}

/// RFC 7541, section 5.1, with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        bytes.push(length.to_le_bytes()[0]);
        return;
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(rest.to_le_bytes()[0] | 128);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}
