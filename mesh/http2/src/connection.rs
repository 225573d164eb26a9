//! One HTTP/2 connection.

use std::time::Instant;

use crate::{ConnectionError, ErrorCode, Event, Handler, HeaderBlock, Limits, Settings, StreamId};

/// What a GOAWAY of ours says about streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastStream {
    /// All that are under way will be processed (2^31-1): the announcement of a graceful shutdown.
    All,
    /// Only those that have arrived; later ones are ignored.
    Arrived,
}

/// One HTTP/2 connection, without its socket. `T` is the user's token for a stream.
///
/// A stream is forgotten when both halves ended with END_STREAM. After a reset, by whichever side, it
/// still counts as open until [`release`](Self::release), so that work which is not really over keeps
/// its place. All methods that name a stream do nothing for one that is forgotten or reset: events
/// about it may still be on their way to the user.
#[derive(Debug)]
pub struct Connection<T> {
    tokens: Vec<T>,
    output: Vec<u8>,
}

impl<T: Copy> Connection<T> {
    /// The side that accepted the connection. Queues our SETTINGS.
    pub fn server(_settings: &Settings, _limits: &Limits, _now: Instant) -> Self {
        Self {
            tokens: Vec::new(),
            output: Vec::new(),
        }
    }

    /// The side that made the connection. Queues preface and SETTINGS; streams may be opened at once.
    pub fn client(_settings: &Settings, _limits: &Limits, _now: Instant) -> Self {
        Self {
            tokens: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Takes bytes from the socket and tells `handler` what they mean. Incomplete frames are kept.
    ///
    /// # Errors
    ///
    /// If the connection must be closed, after its output is written. All later calls fail the same way.
    pub fn receive<H: Handler<T>>(
        &mut self,
        _bytes: &[u8],
        _now: Instant,
        _handler: &mut H,
    ) -> Result<(), ConnectionError> {
        Ok(())
    }

    /// Client: a new stream, or `None` if the peer's limit is reached, a GOAWAY was sent or received,
    /// or the ids are used up. [`send_headers`](Self::send_headers) must follow before any other stream is opened.
    pub fn open(&mut self, _token: T) -> Option<StreamId> {
        None
    }

    /// Client: how many streams may be opened now.
    pub fn capacity_for_streams(&self) -> u32 {
        0
    }

    /// Sends request, response (also 1xx ones) or trailers, in as many frames as the peer's frame size asks for.
    pub fn send_headers(&mut self, _stream: StreamId, _block: &HeaderBlock, _end_stream: bool) {}

    /// Queues as much payload as the windows and [`Limits::output_bytes`] allow and says how much that
    /// was. END_STREAM is set only when all of it was taken, with no bytes even if the window is closed.
    /// Bytes for a stream that is over are taken and dropped.
    pub fn send_data(&mut self, _stream: StreamId, bytes: &[u8], _end_stream: bool) -> usize {
        bytes.len()
    }

    /// How much [`send_data`](Self::send_data) would take now.
    pub fn send_window(&self, _stream: StreamId) -> usize {
        0
    }

    /// Ends a stream at once. It counts as open until [`release`](Self::release).
    pub fn reset(&mut self, _stream: StreamId, _code: ErrorCode) {}

    /// Received payload was passed on: the peer may send as much again. WINDOW_UPDATE frames are sent
    /// when half of the stream's window is due.
    pub fn consumed(&mut self, _stream: StreamId, _bytes: usize) {}

    /// How much the peer may have under way on this stream, instead of
    /// [`Settings::initial_window_bytes`]. More is told at once; less is reached by giving less back.
    pub fn set_receive_window(&mut self, _stream: StreamId, _bytes: u32) {}

    /// What comes with events about this stream from now on.
    pub fn set_token(&mut self, _stream: StreamId, _token: T) {}

    /// The token of a stream that is not forgotten.
    pub fn token(&self, _stream: StreamId) -> Option<T> {
        self.tokens.first().copied()
    }

    /// The user is done with a stream. One that has not ended is reset with CANCEL.
    pub fn release(&mut self, _stream: StreamId) {}

    /// Says that the connection will end. For a graceful end first with [`LastStream::All`], a round
    /// trip later with [`LastStream::Arrived`]; close when [`open_streams`](Self::open_streams) is 0.
    pub fn go_away(&mut self, _code: ErrorCode, _debug: &[u8], _last: LastStream) {}

    /// Sends a PING; [`Event::PingAck`] answers it.
    pub fn ping(&mut self, _payload: [u8; 8]) {}

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Whether there is something to write.
    pub fn has_output(&self) -> bool {
        !self.output().is_empty()
    }

    /// So many bytes of [`output`](Self::output) were written. True if [`send_data`](Self::send_data)
    /// took less than it was given because of [`Limits::output_bytes`], and would take more now: said once.
    pub fn written(&mut self, n: usize) -> bool {
        self.output.drain(..n);
        false
    }

    /// How many streams are not forgotten.
    pub fn open_streams(&self) -> usize {
        0
    }

    /// We sent a GOAWAY.
    pub fn is_going_away(&self) -> bool {
        false
    }

    /// The peer sent a GOAWAY.
    pub fn is_peer_going_away(&self) -> bool {
        false
    }

    /// When to call [`on_deadline`](Self::on_deadline).
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Sends a PING that is due, or fails if the peer was too slow.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    pub fn on_deadline(&mut self, _now: Instant) -> Result<(), ConnectionError> {
        Ok(())
    }

    /// The error that `receive` or `on_deadline` returned.
    pub fn error(&self) -> Option<ConnectionError> {
        None
    }
}

const _: fn(&mut Connection<u32>, Event<'_, u32>) = |_, _| {};
