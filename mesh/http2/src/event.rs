//! What a connection tells its user.

use crate::{Connection, ErrorCode, HeaderBlock, StreamId};

/// Acts on the events of a connection.
pub trait Handler<T: Copy> {
    /// Called once per event, in the order of the bytes that caused them. Everything of `connection`
    /// but [`Connection::receive`] may be called.
    fn event(&mut self, connection: &mut Connection<T>, event: Event<'_, T>);
}

impl<T: Copy, F: FnMut(&mut Connection<T>, Event<'_, T>)> Handler<T> for F {
    fn event(&mut self, connection: &mut Connection<T>, event: Event<'_, T>) {
        self(connection, event);
    }
}

/// Something the peer did. `token` is what the user said about the stream: always there on a client,
/// on a server after [`Connection::set_token`].
#[derive(Debug)]
pub enum Event<'a, T> {
    /// A request began (on a server, `stream` is new and `token` is `None`) or a response did. The
    /// block is valid by RFC 9113, section 8, and may be changed and sent on, or exchanged for another one.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// Pseudo-header fields first.
        block: &'a mut Box<HeaderBlock>,
        /// A response with a 1xx status: the real one is still to come.
        informational: bool,
        /// Nothing will follow from the peer.
        end_stream: bool,
    },
    /// The last header block of a stream; the peer's half ends with it.
    Trailers {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// Without pseudo-header fields.
        block: &'a mut Box<HeaderBlock>,
    },
    /// Payload without padding, as it arrived: a frame may come in several parts. Whoever has passed
    /// it on says so with [`Connection::consumed`]. `bytes` is empty only if `end_stream` is set.
    Data {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// At least one byte, or none with `end_stream`.
        bytes: &'a [u8],
        /// Nothing will follow from the peer.
        end_stream: bool,
    },
    /// The peer reset the stream. It counts as open until [`Connection::release`].
    Reset {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// `REFUSED_STREAM` proves that the request was not processed.
        code: ErrorCode,
    },
    /// The send window of this stream was used up and is open again.
    WindowOpened {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
    },
    /// The connection's send window was used up and is open again, or the peer's SETTINGS opened the
    /// windows of streams: any stream with something to send may try.
    WindowsOpened,
    /// The peer will not process streams of ours above `last_stream`, and wants no new ones. On a client,
    /// one [`Refused`](Event::Refused) for each of those follows.
    GoAway {
        /// The last stream the peer has processed or will.
        last_stream: StreamId,
        /// `NO_ERROR` in a graceful shutdown.
        code: ErrorCode,
        /// What the peer says about it.
        debug: &'a [u8],
    },
    /// The stream is over and provably was not processed: the same request may be sent again elsewhere.
    /// The stream is forgotten already.
    Refused {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
    },
    /// The peer's SETTINGS were applied: [`Connection::capacity_for_streams`] may have changed.
    SettingsChanged,
    /// The peer has read resets of ours on streams that it had not answered.
    ResetsRead,
    /// The peer answered [`Connection::ping`].
    PingAck {
        /// What was sent.
        payload: [u8; 8],
    },
    /// The header list is over the limit. On a server the stream is open and waits for an answer; on a
    /// client reset it.
    HeadersTooLarge {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// Nothing will follow from the peer.
        end_stream: bool,
    },
    /// The peer broke a rule on this stream, and it was reset for that. It counts as open until
    /// [`Connection::release`], unless the user never heard of it (`token` is `None` and no other event
    /// came before).
    Malformed {
        /// The stream.
        stream: StreamId,
        /// The user's token.
        token: Option<T>,
        /// What the RST_STREAM said.
        code: ErrorCode,
        /// The rule, in words.
        reason: &'static str,
    },
}
