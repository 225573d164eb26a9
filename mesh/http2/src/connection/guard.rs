//! How much misbehaviour a connection bears.

use std::time::Instant;

use super::budget::Budget;
use crate::{ConnectionError, ErrorCode, Limits};

/// Payload that gives back one frame of the budget for tiny ones.
const REAL_BYTES: u32 = 64;
/// Less than the head of a gRPC message.
const TINY_BYTES: u32 = 5;

/// The budgets of [`Limits`]. Each has the name that GOAWAY gives when it is used up.
#[derive(Debug)]
pub(super) struct Guard {
    resets: Budget,
    provoked_resets: Budget,
    refused_streams: Budget,
    control_frames: Budget,
    tiny_data: Budget,
    window_updates: Budget,
    ignored_frames: Budget,
    pending_answers: u32,
    unread_output: usize,
}

fn calm(allowed: bool, reason: &'static str) -> Result<(), ConnectionError> {
    if allowed {
        Ok(())
    } else {
        Err(ConnectionError::new(ErrorCode::ENHANCE_YOUR_CALM, reason))
    }
}

impl Guard {
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            resets: Budget::new(limits.resets, 1, now),
            provoked_resets: Budget::new(limits.provoked_resets, 1, now),
            refused_streams: Budget::new(limits.refused_streams, 10, now),
            control_frames: Budget::new(limits.control_frames, 10, now),
            tiny_data: Budget::new(limits.tiny_data_frames, 10, now),
            window_updates: Budget::new(limits.window_updates, 100, now),
            ignored_frames: Budget::new(limits.ignored_frames, 10, now),
            pending_answers: limits.pending_answers,
            unread_output: limits.unread_output_bytes,
        }
    }

    /// The peer reset a stream that was not answered.
    pub fn reset(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.resets.take(now), "too_many_resets")
    }

    /// The work of such a stream has ended since, and it counted as open until then: it was no more than
    /// the limit of open streams allows.
    pub fn reset_is_over(&mut self) {
        self.resets.give(1);
    }

    /// We reset a stream because the peer broke a rule.
    pub fn provoked_reset(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.provoked_resets.take(now), "too_many_internal_resets")
    }

    /// A stream above the limit.
    pub fn refused_stream(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.refused_streams.take(now), "too_many_refused_streams")
    }

    /// PING, SETTINGS, GOAWAY.
    pub fn control_frame(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.control_frames.take(now), "too_many_control_frames")
    }

    /// An answer was queued; so many are not read now.
    pub fn pending_answers(&self, pending: u32) -> Result<(), ConnectionError> {
        calm(pending <= self.pending_answers, "too_many_pending_answers")
    }

    /// A request came while so much of our output is not written.
    pub fn unread_output(&self, bytes: usize) -> Result<(), ConnectionError> {
        calm(bytes <= self.unread_output, "too_much_unread_output")
    }

    /// DATA with this payload.
    pub fn data(&mut self, bytes: u32, end: bool, now: Instant) -> Result<(), ConnectionError> {
        self.control_frames.give(1);
        if bytes < TINY_BYTES && !end {
            return calm(self.tiny_data.take(now), "too_many_data_frames");
        }
        self.tiny_data.give(bytes / REAL_BYTES);
        Ok(())
    }

    pub fn window_update(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.window_updates.take(now), "too_many_window_updates")
    }

    /// PRIORITY, unknown frames, RST_STREAM of a stream that is over.
    pub fn ignored_frame(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm(self.ignored_frames.take(now), "too_many_ignored_frames")
    }

    /// A header block that is a message.
    pub fn message(&mut self) {
        self.control_frames.give(1);
        self.ignored_frames.give(10);
        // Some widen the window of each stream they open.
        self.window_updates.give(2);
    }

    /// Both halves of a stream ended as they should.
    pub fn stream_ended(&mut self) {
        self.resets.give(1);
        self.refused_streams.give(1);
    }

    /// We sent DATA.
    pub fn data_sent(&mut self) {
        self.window_updates.give(10);
    }
}
