//! Header blocks that arrive.

use super::{
    Connection, Role,
    receive::protocol_error,
    streams::{Past, Side},
};
use crate::{
    ConnectionError, ErrorCode, Handler, HeaderBlock,
    frame::{Head, flag},
    hpack::{self, Outcome},
};

/// A buffer for header blocks that was larger than this is not kept.
const KEPT_BYTES: usize = 64 * 1024;

/// A header block that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenBlock {
    pub stream: u32,
    pub continuations: u32,
    pub end_stream: bool,
    /// Its priority depends on itself, which is an error of the stream.
    pub depends_on_itself: bool,
}

impl<T: Copy> Connection<T> {
    pub(super) fn headers<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let (fragment, depends_on_itself) = strip(head, payload)?;
        let open = OpenBlock {
            stream: head.stream.0,
            continuations: 0,
            end_stream: head.has(flag::END_STREAM),
            depends_on_itself,
        };
        if head.has(flag::END_HEADERS) {
            return self.header_block(open, fragment, handler);
        }
        self.reader.open_block = Some(open);
        self.reader.fragments.extend_from_slice(fragment);
        Ok(())
    }

    pub(super) fn continuation<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.reader.fragments.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        // `begin_fragment` has seen to it that there is one.
        let Some(open) = self.reader.open_block.take() else {
            return Ok(());
        };
        let mut fragments = std::mem::take(&mut self.reader.fragments);
        self.header_block(open, &fragments, handler)?;
        if fragments.capacity() <= KEPT_BYTES {
            fragments.clear();
            self.reader.fragments = fragments;
        }
        Ok(())
    }

    /// Decodes a block whatever becomes of it: the table must stay right.
    fn header_block<H: Handler<T>>(
        &mut self,
        open: OpenBlock,
        encoded: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let mut block = self.block.take().unwrap_or_default();
        block.clear();
        let outcome = self.decoder.decode(encoded, &mut block).map_err(|error| {
            let code = match error {
                hpack::Error::WayTooLarge => ErrorCode::ENHANCE_YOUR_CALM,
                _ => ErrorCode::COMPRESSION_ERROR,
            };
            ConnectionError::new(code, error.reason())
        })?;
        self.decoded_block(open, outcome, &mut block, handler)?;
        if block.bytes.capacity() <= KEPT_BYTES {
            self.block = Some(block);
        }
        Ok(())
    }

    /// Finds out what kind of message a block is by the state of its stream.
    fn decoded_block<H: Handler<T>>(
        &mut self,
        open: OpenBlock,
        outcome: Outcome,
        block: &mut Box<HeaderBlock>,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let id = open.stream;
        if self.is_idle(id) {
            return self.request(open, outcome, block, handler);
        }
        let Some(stream) = self.streams.get(id) else {
            return self.late_block(id, handler);
        };
        let closed = match stream.reset {
            Some(Side::Us) => return Ok(()),
            Some(Side::Peer) => Some("HEADERS after RST_STREAM"),
            None if !stream.remote_open => Some("HEADERS after END_STREAM"),
            None => None,
        };
        if let Some(reason) = closed {
            return self.stream_error(id, ErrorCode::STREAM_CLOSED, reason, handler);
        }
        if self.role == Role::Client && !stream.headers_sent {
            return Err(protocol_error("HEADERS on a stream that is not open"));
        }
        let result = if open.depends_on_itself {
            Err("stream depends on itself")
        } else if stream.headers_received {
            self.trailers(open, outcome, block, handler)
        } else {
            self.response(open, outcome, block, handler)
        };
        match result {
            Ok(()) => Ok(()),
            Err(reason) => self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason, handler),
        }
    }

    /// A block on a stream that is not there any more.
    fn late_block<H: Handler<T>>(
        &mut self,
        id: u32,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        match (self.streams.past(id), self.role) {
            (Some(Past::Reset(Side::Us) | Past::Refused), _) | (None, Role::Client) => Ok(()),
            (Some(Past::Reset(Side::Peer)), _) => {
                let reason = "HEADERS after RST_STREAM";
                self.stream_error(id, ErrorCode::STREAM_CLOSED, reason, handler)
            }
            (Some(Past::Ended), _) => {
                let reason = "HEADERS on a stream that has ended";
                Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, reason))
            }
            (None, Role::Server) => Err(protocol_error("stream id is not larger than the last")),
        }
    }
}

/// Takes padding and priority off a HEADERS payload.
fn strip(head: Head, mut payload: &[u8]) -> Result<(&[u8], bool), ConnectionError> {
    if head.has(flag::PADDED) {
        let (&padding, rest) = payload
            .split_first()
            .ok_or_else(|| protocol_error("padding is longer than the frame"))?;
        let length = rest.len().checked_sub(usize::from(padding));
        let length = length.ok_or_else(|| protocol_error("padding is longer than the frame"))?;
        payload = &rest[..length];
    }
    let mut depends_on_itself = false;
    if head.has(flag::PRIORITY) {
        let (priority, rest) = payload.split_first_chunk::<5>().ok_or_else(|| {
            ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "HEADERS without its priority")
        })?;
        let [a, b, c, d, _] = *priority;
        depends_on_itself = u32::from_be_bytes([a & 0x7f, b, c, d]) == head.stream.0;
        payload = rest;
    }
    Ok((payload, depends_on_itself))
}
