//! What the user may ask about a connection, and the tokens that tell it the streams apart.

use super::Connection;
use crate::{ConnectionError, StreamId};

impl<T: Copy> Connection<T> {
    /// How many streams are not forgotten.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// How many bytes of payload were queued so far: as long as this does not change, the peer takes
    /// nothing.
    pub fn payload_sent(&self) -> u64 {
        self.payload_sent
    }

    /// The peer's preface and first SETTINGS have come.
    pub fn has_begun(&self) -> bool {
        self.timers.preface.is_none()
    }

    /// A stream was opened, whatever became of it.
    pub fn has_had_streams(&self) -> bool {
        self.next_id > 1 || self.last_peer_id > 0
    }

    /// We sent a GOAWAY.
    pub fn is_going_away(&self) -> bool {
        self.going_away.is_some()
    }

    /// The peer sent a GOAWAY.
    pub fn is_peer_going_away(&self) -> bool {
        self.peer_going_away
    }

    /// The error that `receive` or `on_deadline` returned.
    pub fn error(&self) -> Option<ConnectionError> {
        self.error
    }

    /// What comes with events about this stream from now on.
    pub fn set_token(&mut self, stream: StreamId, token: T) {
        if let Some(stream) = self.streams.get_mut(stream.0) {
            stream.token = Some(token);
        }
    }

    /// The token of a stream that is not forgotten.
    pub fn token(&self, stream: StreamId) -> Option<T> {
        self.streams.get(stream.0)?.token
    }

    /// The tokens of all streams that are not forgotten, in no order.
    pub fn tokens(&self) -> impl Iterator<Item = T> {
        self.streams.iter().filter_map(|stream| stream.token)
    }
}
