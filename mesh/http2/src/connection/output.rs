//! What is to be written, and how much of it the peer makes us answer.

use crate::{
    ErrorCode,
    frame::{HEAD_BYTES, Head, StreamId, flag, kind},
};

/// A buffer that was larger than this once is given back when it is empty.
const KEPT_BYTES: usize = 1024 * 1024;

/// Frames in one buffer, of which the first `start` bytes are written.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    start: usize,
    /// Payload was not taken because the buffer is full.
    pub held: bool,
    /// There is more than WINDOW_UPDATE.
    pub is_urgent: bool,
    answers: Answers,
}

/// Answers to PING and SETTINGS that are not written. `older` were queued before `mark`, `newer` after:
/// when all before the mark is written, the newer ones become the older ones.
#[derive(Debug, Default)]
struct Answers {
    older: u32,
    newer: u32,
    /// Bytes until `older` is 0.
    mark: usize,
}

impl Output {
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn written(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            self.is_urgent = false;
            self.answers = Answers::default();
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
            return;
        }
        // Moving the rest costs no more than what was written since the last time.
        if self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.answers.mark = self.answers.mark.saturating_sub(n);
        if self.answers.mark == 0 {
            self.answers.older = self.answers.newer;
            self.answers.newer = 0;
            self.answers.mark = self.len();
        }
    }

    /// Gives memory back that nothing is in.
    pub fn shrink(&mut self, kept: usize) {
        if self.bytes.is_empty() && self.bytes.capacity() > kept {
            self.bytes = Vec::with_capacity(kept);
        }
    }

    /// Notes an answer to something the peer sent and says how many are not read.
    pub fn count_answer(&mut self) -> u32 {
        self.answers.newer += 1;
        self.answers.older + self.answers.newer
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.head(kind, flags, stream, payload.len());
        self.bytes.extend_from_slice(payload);
    }

    pub fn head(&mut self, kind: u8, flags: u8, stream: u32, length: usize) {
        self.is_urgent |= kind != kind::WINDOW_UPDATE;
        // No frame is longer than 2^24.
        let head = Head {
            length: length as u32,
            kind,
            flags,
            stream: StreamId(stream),
        };
        self.bytes.extend_from_slice(&head.to_bytes());
    }

    pub fn reset(&mut self, stream: u32, code: ErrorCode) {
        self.frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes());
    }

    pub fn window_update(&mut self, stream: u32, increment: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    pub fn go_away(&mut self, last_stream: u32, code: ErrorCode, debug: &[u8]) {
        self.head(kind::GOAWAY, 0, 0, 8 + debug.len());
        self.bytes.extend_from_slice(&last_stream.to_be_bytes());
        self.bytes.extend_from_slice(&code.0.to_be_bytes());
        self.bytes.extend_from_slice(debug);
    }

    /// Writes HEADERS, and CONTINUATION if the block that `encode` appends is larger than `max_frame`.
    pub fn headers(
        &mut self,
        stream: u32,
        end_stream: bool,
        max_frame: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.is_urgent = true;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
        encode(&mut self.bytes);
        let length = self.bytes.len() - at - HEAD_BYTES;
        let end_stream = if end_stream { flag::END_STREAM } else { 0 };
        let mut head = Head {
            length: length.min(max_frame) as u32,
            kind: kind::HEADERS,
            flags: end_stream,
            stream: StreamId(stream),
        };
        if length <= max_frame {
            head.flags |= flag::END_HEADERS;
        }
        self.bytes[at..at + HEAD_BYTES].copy_from_slice(&head.to_bytes());
        if length > max_frame {
            let rest = self.bytes.split_off(at + HEAD_BYTES + max_frame);
            let count = rest.len().div_ceil(max_frame);
            for (number, fragment) in rest.chunks(max_frame).enumerate() {
                let flags = if number + 1 == count {
                    flag::END_HEADERS
                } else {
                    0
                };
                self.frame(kind::CONTINUATION, flags, stream, fragment);
            }
        }
    }
}
