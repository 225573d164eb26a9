//! How much may be under way towards whom.
//!
//! Windows are end to end: a sender gets window back only as the receiver takes what was sent. What
//! waits in between is kept here, so the windows given out bound the memory: a caller that reads
//! nothing holds at most [`STREAMS`] first windows, less than 1 MiB. Only one that takes what comes gets
//! [`WIDE_STREAMS`] wide ones besides; if it stops then, [`super::stall`] brings it back to 1 MiB.

/// Streams a caller may have open at once. Envoy's edge settings.
pub(crate) const STREAMS: u32 = 100;

/// What may be under way on a new stream: a message of 10 kB with its head.
pub(crate) const FIRST_BYTES: u32 = 10 * 1024;

/// What may be under way on a stream that carries more: enough for 64 MB/s over a round trip of 1 ms.
pub(crate) const WIDE_BYTES: u32 = 64 * 1024;

/// How many streams of one caller may have a wide window at once.
pub(crate) const WIDE_STREAMS: u32 = 9;

/// The head of a gRPC message: a flag and the length.
const MESSAGE_HEAD: usize = 5;

/// How long a message is, with its head, by the first bytes of a stream. Zero if these are no first
/// bytes or too few.
pub(crate) fn message_bytes(position: usize, bytes: &[u8]) -> usize {
    match (position, bytes.get(..MESSAGE_HEAD)) {
        (0, Some(&[_, a, b, c, d])) => {
            (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(MESSAGE_HEAD)
        }
        _ => 0,
    }
}

/// Whether a stream that goes on at `position` with `bytes` is one that carries more than its first
/// window.
pub(crate) fn wants_more(position: usize, bytes: &[u8]) -> bool {
    let first = FIRST_BYTES as usize;
    position + bytes.len() >= first || message_bytes(position, bytes) > first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_and_long_streams_get_more() {
        let head = |length: u32| [&[0][..], &length.to_be_bytes()].concat();
        assert!(!wants_more(0, &head(10_000)));
        assert!(wants_more(0, &head(100_000)));
        assert!(!wants_more(5, &head(100_000)));
        assert!(wants_more(10_000, &[0; 300]));
        assert!(wants_more(20_000, &[0; 300]));
        assert_eq!(message_bytes(0, &[0, 0]), 0);
    }
}
