//! What the user sends.

use super::{Connection, Role, Stream, streams::Side};
use crate::{
    ErrorCode, HeaderBlock, Name, StreamId,
    frame::{flag, kind},
};

impl<T: Copy> Connection<T> {
    /// Client: a new stream, or `None` if the peer's limit is reached, a GOAWAY was sent or received, the
    /// ids are used up, [`Limits::unread_output_bytes`](crate::Limits::unread_output_bytes) wait, or the
    /// connection is [worn out](Self::is_worn_out).
    /// [`send_headers`](Self::send_headers) must follow before that of any later stream.
    pub fn open(&mut self, token: T) -> Option<StreamId> {
        if self.capacity_for_streams() == 0 {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        let stream = self.new_stream(id, Some(token));
        self.streams.insert(stream);
        Some(StreamId(id))
    }

    /// Client: how many streams may be opened now.
    pub fn capacity_for_streams(&self) -> u32 {
        let over = self.role == Role::Server
            || self.going_away.is_some()
            || self.peer_going_away
            || self.is_worn_out()
            || self.error.is_some()
            || self.output.len() > self.limits.unread_output_bytes
            || self.next_id > StreamId::MAX.0;
        if over {
            return 0;
        }
        let open = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        let ids = (StreamId::MAX.0 - self.next_id) / 2 + 1;
        self.peer
            .max_concurrent_streams
            .saturating_sub(open)
            .min(ids)
    }

    /// Sends request, response (also 1xx ones) or trailers, in as many frames as the peer's frame size asks for.
    pub fn send_headers(&mut self, stream: StreamId, block: &HeaderBlock, end_stream: bool) {
        let Some(stream) = self
            .streams
            .get_mut(stream.0)
            .filter(|stream| stream.may_send())
        else {
            return;
        };
        let id = stream.id;
        match self.role {
            Role::Client if !stream.headers_sent => {
                stream.headers_sent = true;
                stream.head_request = block.get(Name::Method) == Some(b"HEAD");
            }
            Role::Client => {}
            Role::Server => {
                let informational = matches!(block.get(Name::Status), Some([b'1', ..]));
                stream.headers_sent |= !informational;
            }
        }
        stream.local_open = !end_stream;
        let encoder = &mut self.encoder;
        self.output
            .headers(id, end_stream, self.peer.max_frame as usize, |output| {
                encoder.encode(block, output);
            });
        if end_stream {
            self.finish_if_ended(id);
        }
    }

    /// Queues as much payload as the windows and [`Limits::output_bytes`](crate::Limits::output_bytes)
    /// allow and says how much that was. END_STREAM is set only when all of it was taken, with no bytes
    /// even if the window is closed. Bytes for a stream that is over are taken and dropped.
    pub fn send_data(&mut self, stream: StreamId, bytes: &[u8], end_stream: bool) -> usize {
        let room = self.output_room();
        let Some(stream) = self
            .streams
            .get_mut(stream.0)
            .filter(|stream| stream.may_send())
        else {
            return bytes.len();
        };
        let window = stream.send_window.min(self.send_window).max(0) as usize;
        let taken = bytes.len().min(window).min(room);
        self.output.held |= taken < bytes.len().min(window);
        let end = end_stream && taken == bytes.len();
        if taken == 0 && !end {
            return 0;
        }
        let id = stream.id;
        stream.send_window -= taken as i64;
        self.send_window -= taken as i64;
        self.payload_sent += taken as u64;
        stream.local_open = !end;
        let max_frame = self.peer.max_frame as usize;
        let mut rest = &bytes[..taken];
        while rest.len() > max_frame {
            let (frame, later) = rest.split_at(max_frame);
            self.output.frame(kind::DATA, 0, id, frame);
            rest = later;
        }
        self.output
            .frame(kind::DATA, if end { flag::END_STREAM } else { 0 }, id, rest);
        self.guard.data_sent();
        if end {
            self.finish_if_ended(id);
        }
        taken
    }

    /// How much [`send_data`](Self::send_data) would take now.
    pub fn send_window(&self, stream: StreamId) -> usize {
        let Some(stream) = self
            .streams
            .get(stream.0)
            .filter(|stream| stream.may_send())
        else {
            return 0;
        };
        let window = stream.send_window.min(self.send_window).max(0) as usize;
        window.min(self.output_room())
    }

    fn output_room(&self) -> usize {
        self.limits.output_bytes.saturating_sub(self.output.len())
    }

    /// Ends a stream at once. It counts as open until [`release`](Self::release).
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(stream) = self
            .streams
            .get_mut(stream.0)
            .filter(|stream| stream.reset.is_none())
        else {
            return;
        };
        stream.reset = Some(Side::Us);
        let id = stream.id;
        match self.role {
            // A stream of ours that was never used does not exist for the peer, and may not be reset.
            Role::Client if !stream.headers_sent => {}
            Role::Client if !stream.headers_received => self.withdraw(id, code),
            Role::Client | Role::Server => self.output.reset(id, code),
        }
    }

    /// Sends a PING; [`Event::PingAck`](crate::Event::PingAck) answers it.
    pub fn ping(&mut self, payload: [u8; 8]) {
        self.output.frame(kind::PING, 0, 0, &payload);
    }

    /// Received payload was passed on: the peer may send as much again. WINDOW_UPDATE frames are sent
    /// when half of the stream's window is due, and while [`receive`](Self::receive) runs only at its end:
    /// a stream that has ended by then needs none, and the peer is not woken for nothing.
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        let Some(found) = self.streams.get_mut(stream.0) else {
            return;
        };
        let unconsumed = found.unconsumed.saturating_sub_unsigned(bytes as u64);
        found.unconsumed = unconsumed.max(0);
        if !self.is_receiving {
            self.give_window(stream.0);
        } else if found.is_window_due() && self.due_windows.last() != Some(&stream.0) {
            self.due_windows.push(stream.0);
        }
    }

    pub(super) fn give_due_windows(&mut self) {
        while let Some(id) = self.due_windows.pop() {
            self.give_window(id);
        }
    }

    fn give_window(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.is_window_due()
        {
            let increment = stream.due_window();
            self.output.window_update(id, increment);
        }
    }

    /// Gives memory back that was needed once: keeps room for `kept` bytes of output. For now and then,
    /// not for each turn.
    pub fn shrink(&mut self, kept: usize) {
        self.output.shrink(kept);
    }

    /// How much the peer may have under way on this stream, instead of
    /// [`Settings::initial_window_bytes`](crate::Settings::initial_window_bytes). More is told at once;
    /// less is reached by giving less back.
    pub fn set_receive_window(&mut self, stream: StreamId, bytes: u32) {
        if let Some(stream) = self.streams.get_mut(stream.0) {
            stream.target_window = i64::from(bytes.min(crate::frame::MAX_WINDOW_BYTES));
            let increment = stream.due_window();
            if increment > 0 {
                self.output.window_update(stream.id, increment);
            }
        }
    }
}

impl<T> Stream<T> {
    fn may_send(&self) -> bool {
        self.local_open && self.reset.is_none()
    }

    /// Whether half of the window can be given to the peer, which still sends.
    fn is_window_due(&self) -> bool {
        let due = self.target_window - self.unconsumed - self.receive_window;
        self.remote_open && self.reset.is_none() && due >= (self.target_window / 2).max(1)
    }

    /// Takes what the peer may be given of the window.
    pub(super) fn due_window(&mut self) -> u32 {
        let due = self.target_window - self.unconsumed - self.receive_window;
        if !self.remote_open || self.reset.is_some() || due < 1 {
            return 0;
        }
        self.receive_window += due;
        // Both windows are below 2^31, and the receive window is negative by no more.
        u32::try_from(due).unwrap_or(crate::frame::MAX_WINDOW_BYTES)
    }
}
