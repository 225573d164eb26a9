//! Cuts what arrives into frames.

use std::time::Instant;

use super::{
    Connection,
    reader::Stage,
    streams::{Past, Side},
};
use crate::{
    ConnectionError, ErrorCode, Event, Handler, StreamId,
    frame::{Head, PREFACE, flag, kind},
    hpack::WAY_TOO_LARGE,
};

/// A buffer for parts of frames that was larger than this is not kept.
const KEPT_BYTES: usize = 16 * 1024;

pub(super) fn protocol_error(reason: &'static str) -> ConnectionError {
    ConnectionError::new(ErrorCode::PROTOCOL_ERROR, reason)
}

fn frame_size_error() -> ConnectionError {
    ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "frame of a wrong size")
}

impl<T: Copy> Connection<T> {
    /// Takes bytes from the socket and tells `handler` what they mean. Incomplete frames are kept.
    ///
    /// # Errors
    ///
    /// If the connection must be closed, after its output is written. All later calls fail the same way.
    pub fn receive<H: Handler<T>>(
        &mut self,
        bytes: &[u8],
        now: Instant,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.now = now;
        self.timers.last_received = now;
        self.timers.pinged = None;
        self.is_receiving = true;
        let read = self.read(bytes, handler);
        self.is_receiving = false;
        self.give_due_windows();
        read.map_err(|error| self.fail(error))?;
        if self.reader.is_within_frame() && self.timers.frame.is_none() {
            self.timers.frame = Some(now + self.limits.frame_timeout);
        }
        Ok(())
    }

    fn read<H: Handler<T>>(
        &mut self,
        mut input: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        loop {
            match self.reader.stage {
                Stage::Head => match self.reader.head(&mut input) {
                    Some(head) => self.begin(head, handler)?,
                    None => return Ok(()),
                },
                Stage::Data(frame) => {
                    if !self.data(frame, &mut input, handler)? {
                        return Ok(());
                    }
                }
                Stage::Whole(head) => {
                    if !self.whole(head, &mut input, handler)? {
                        return Ok(());
                    }
                }
                Stage::Skip(left) => {
                    let skipped = input.len().min(left as usize);
                    input = &input[skipped..];
                    // At most `left`.
                    let left = left - skipped as u32;
                    self.reader.stage = if left == 0 {
                        Stage::Head
                    } else {
                        Stage::Skip(left)
                    };
                    if left > 0 {
                        return Ok(());
                    }
                }
                Stage::Preface(seen) => {
                    let expected = &PREFACE[seen..];
                    let length = expected.len().min(input.len());
                    if input[..length] != expected[..length] {
                        return Err(protocol_error("invalid connection preface"));
                    }
                    input = &input[length..];
                    if length < expected.len() {
                        self.reader.stage = Stage::Preface(seen + length);
                        return Ok(());
                    }
                    self.reader.stage = Stage::Head;
                }
            }
        }
    }

    /// Handles a frame when all of it is there: in place, if it came in one piece.
    fn whole<H: Handler<T>>(
        &mut self,
        head: Head,
        input: &mut &[u8],
        handler: &mut H,
    ) -> Result<bool, ConnectionError> {
        let length = head.length as usize;
        if self.reader.partial.is_empty()
            && let Some((payload, rest)) = input.split_at_checked(length)
        {
            *input = rest;
            self.reader.stage = Stage::Head;
            self.frame(head, payload, handler)?;
            self.frame_ended();
            return Ok(true);
        }
        if !self.reader.collect(length, input) {
            return Ok(false);
        }
        let mut payload = std::mem::take(&mut self.reader.partial);
        self.reader.stage = Stage::Head;
        self.frame(head, &payload, handler)?;
        self.frame_ended();
        if payload.capacity() <= KEPT_BYTES {
            payload.clear();
            self.reader.partial = payload;
        }
        Ok(true)
    }

    /// The next frame has its own time, unless it continues a header block.
    pub(super) fn frame_ended(&mut self) {
        if self.reader.open_block.is_none() {
            self.timers.frame = None;
        }
    }

    /// Looks at a head and decides how the payload is taken.
    fn begin<H: Handler<T>>(&mut self, head: Head, handler: &mut H) -> Result<(), ConnectionError> {
        if head.length > self.settings.max_frame_bytes {
            return Err(frame_size_error());
        }
        if !self.reader.settings_seen {
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(protocol_error("the first frame is not SETTINGS"));
            }
            self.reader.settings_seen = true;
        }
        if let Some(block) = &self.reader.open_block
            && (head.kind != kind::CONTINUATION || head.stream.0 != block.stream)
        {
            return Err(protocol_error("header block interrupted"));
        }
        self.reader.stage = match head.kind {
            kind::DATA => return self.begin_data(head, handler),
            kind::HEADERS | kind::CONTINUATION => {
                self.begin_fragment(head)?;
                Stage::Whole(head)
            }
            kind::PUSH_PROMISE => return Err(protocol_error("PUSH_PROMISE is not accepted")),
            unknown if unknown > kind::CONTINUATION => {
                self.guard.ignored_frame(self.now)?;
                self.frame_ended();
                Stage::Skip(head.length)
            }
            _ => {
                check_size(head)?;
                Stage::Whole(head)
            }
        };
        Ok(())
    }

    /// Refuses a header block before it is collected or decoded.
    fn begin_fragment(&mut self, head: Head) -> Result<(), ConnectionError> {
        if head.stream.0 == 0 {
            return Err(protocol_error("header block on stream 0"));
        }
        let calm = |reason| Err(ConnectionError::new(ErrorCode::ENHANCE_YOUR_CALM, reason));
        if head.kind == kind::CONTINUATION {
            let block = self.reader.open_block.as_mut();
            let block = block.ok_or_else(|| protocol_error("CONTINUATION without HEADERS"))?;
            block.continuations += 1;
            if block.continuations > self.limits.continuation_frames {
                return calm("too_many_continuations");
            }
        }
        let size = self.reader.fragments.len() + head.length as usize;
        if size > WAY_TOO_LARGE * self.settings.max_header_list_bytes as usize {
            return calm("header_block_way_too_large");
        }
        Ok(())
    }

    fn frame<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        match head.kind {
            kind::HEADERS => self.headers(head, payload, handler),
            kind::CONTINUATION => self.continuation(head, payload, handler),
            kind::WINDOW_UPDATE => self.window_update(head.stream.0, payload, handler),
            kind::RST_STREAM => self.rst_stream(head.stream.0, payload, handler),
            kind::SETTINGS => self.settings(head, payload, handler),
            kind::PING => self.ping_frame(head, payload, handler),
            kind::GOAWAY => self.go_away_frame(payload, handler),
            _ => self.priority(head, payload, handler),
        }
    }

    /// Resets a stream because the peer broke a rule.
    pub(super) fn stream_error<H: Handler<T>>(
        &mut self,
        id: u32,
        code: ErrorCode,
        reason: &'static str,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.provoked_reset(self.now)?;
        self.output.reset(id, code);
        let mut token = None;
        if let Some(stream) = self.streams.get_mut(id) {
            if stream.reset.replace(Side::Us).is_some() {
                return Ok(());
            }
            token = stream.token;
        } else {
            self.streams.remember(id, Past::Reset(Side::Us));
        }
        let stream = StreamId(id);
        handler.event(
            self,
            Event::Malformed {
                stream,
                token,
                code,
                reason,
            },
        );
        Ok(())
    }
}

/// The frames that have one size, and those that belong to the connection or to a stream only.
fn check_size(head: Head) -> Result<(), ConnectionError> {
    let size_is_right = match head.kind {
        kind::RST_STREAM | kind::WINDOW_UPDATE => head.length == 4,
        kind::PING => head.length == 8,
        kind::GOAWAY => head.length >= 8,
        kind::SETTINGS if head.has(flag::ACK) => head.length == 0,
        kind::SETTINGS => head.length.is_multiple_of(6),
        // The wrong size of PRIORITY is an error of its stream alone.
        _ => true,
    };
    if !size_is_right {
        return Err(frame_size_error());
    }
    let of_connection = matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
    let of_stream = matches!(head.kind, kind::RST_STREAM | kind::PRIORITY);
    if (of_connection && head.stream.0 != 0) || (of_stream && head.stream.0 == 0) {
        return Err(protocol_error("frame on a wrong stream"));
    }
    Ok(())
}
