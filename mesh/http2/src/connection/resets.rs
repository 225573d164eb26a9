//! Resets of a client that its server must not take for an attack.
//!
//! Requests and their resets that are read together are how rapid reset works (CVE-2023-44487), so servers
//! close a connection on which a few of them wait at once (h2: more than 20), and all its streams die. A
//! client with many callers sends as many when they go away together. So only a few resets are under way
//! that the server has not provably read; the others wait until it has acknowledged a SETTINGS frame, sent
//! after those. A PING would prove the same, but gRPC servers close the connection after three.

use std::{collections::VecDeque, time::Instant};

use super::{
    Connection,
    streams::{Past, Side},
};
use crate::{ErrorCode, Event, Handler, StreamId, frame::kind};

#[derive(Debug, Default)]
pub(super) struct Resets {
    /// Sent on streams without an answer, and perhaps not read.
    unread: VecDeque<u32>,
    /// How many of these stand before the SETTINGS frame under way.
    asked: usize,
    /// Until when that must be acknowledged. `None` until the clock is looked at.
    pub due: Option<Instant>,
    /// Not sent yet.
    held: VecDeque<(u32, ErrorCode)>,
    /// Sent on streams without an answer, less the streams that ended well since.
    balance: u32,
}

impl Resets {
    /// Whether the peer was asked if it has read some.
    pub fn is_asked(&self) -> bool {
        self.asked > 0
    }

    /// Both halves of a stream ended as they should.
    pub fn stream_ended(&mut self) {
        self.balance = self.balance.saturating_sub(1);
    }
}

impl<T: Copy> Connection<T> {
    /// Client: whether so many streams were reset unanswered that the peer may soon have enough: it gets no
    /// new ones, unless others end well.
    pub fn is_worn_out(&self) -> bool {
        self.resets.balance >= self.limits.unanswered_resets
    }

    /// Client: whether a stream was reset that the peer may still be working on, because it has not read
    /// that. [`Event::ResetsRead`] tells when to ask again.
    pub fn is_ending(&self, stream: StreamId) -> bool {
        let held = self.streams.get(stream.0).is_some_and(|stream| stream.held);
        held || self.resets.unread.contains(&stream.0)
    }

    /// Resets a stream without an answer, now or when the peer has read those before.
    pub(super) fn withdraw(&mut self, id: u32, code: ErrorCode) {
        if self.resets.unread.len() < self.limits.unread_resets {
            self.send_withdrawal(id, code);
            self.ask_if_read();
        } else if let Some(stream) = self.streams.get_mut(id) {
            stream.held = true;
            self.resets.held.push_back((id, code));
        }
    }

    fn send_withdrawal(&mut self, id: u32, code: ErrorCode) {
        self.output.reset(id, code);
        self.resets.unread.push_back(id);
        self.resets.balance += 1;
    }

    /// One question at a time.
    fn ask_if_read(&mut self) {
        if self.resets.asked == 0 && !self.resets.unread.is_empty() {
            self.resets.asked = self.resets.unread.len();
            self.output.frame(kind::SETTINGS, 0, 0, &[]);
            self.unacknowledged += 1;
        }
    }

    /// The peer has read everything up to our last SETTINGS.
    pub(super) fn resets_read<H: Handler<T>>(&mut self, handler: &mut H) {
        if self.resets.asked == 0 {
            return;
        }
        self.resets.due = None;
        self.resets
            .unread
            .drain(..std::mem::take(&mut self.resets.asked));
        while self.resets.unread.len() < self.limits.unread_resets {
            let Some((id, code)) = self.resets.held.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(id) else {
                continue;
            };
            stream.held = false;
            let is_released = stream.is_released;
            self.send_withdrawal(id, code);
            if is_released {
                self.streams.remove(id, Past::Reset(Side::Us));
            }
        }
        self.ask_if_read();
        handler.event(self, Event::ResetsRead);
    }
}
