//! Messages that begin or end with a header block.

use super::{
    Connection, Role,
    headers::OpenBlock,
    receive::protocol_error,
    streams::{Past, Side},
};
use crate::{
    ConnectionError, ErrorCode, Event, Handler, HeaderBlock, StreamId, hpack::Outcome, validate,
};

impl<T: Copy> Connection<T> {
    /// A block on an idle stream.
    pub(super) fn request<H: Handler<T>>(
        &mut self,
        open: OpenBlock,
        outcome: Outcome,
        block: &mut Box<HeaderBlock>,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let id = open.stream;
        if self.role == Role::Client || id.is_multiple_of(2) {
            return Err(protocol_error("the peer may not open this stream"));
        }
        if self.going_away.is_some_and(|last| id > last) {
            self.streams.remember(id, Past::Reset(Side::Us));
            self.last_peer_id = id;
            return Ok(());
        }
        self.last_peer_id = id;
        self.guard.unread_output(self.output.len())?;
        if self.streams.len() >= self.settings.max_concurrent_streams as usize {
            self.guard.refused_stream(self.now)?;
            self.output.reset(id, ErrorCode::REFUSED_STREAM);
            self.streams.remember(id, Past::Refused);
            return Ok(());
        }
        let content_length = match check_request(open, outcome, block) {
            Ok(content_length) => content_length,
            Err(reason) => {
                return self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason, handler);
            }
        };
        let mut stream = self.new_stream(id, None);
        stream.remote_open = !open.end_stream;
        stream.headers_received = true;
        stream.content_left = content_length;
        self.streams.insert(stream);
        self.guard.message();
        let (stream, token, end_stream) = (StreamId(id), None, open.end_stream);
        let event = match outcome {
            Outcome::TooLarge => Event::HeadersTooLarge {
                stream,
                token,
                end_stream,
            },
            Outcome::Complete => Event::Headers {
                stream,
                token,
                block,
                informational: false,
                end_stream,
            },
        };
        handler.event(self, event);
        Ok(())
    }

    pub(super) fn response<H: Handler<T>>(
        &mut self,
        open: OpenBlock,
        outcome: Outcome,
        block: &mut Box<HeaderBlock>,
        handler: &mut H,
    ) -> Result<(), &'static str> {
        let (id, end_stream) = (open.stream, open.end_stream);
        let facts = match outcome {
            Outcome::Complete => validate::response(block)?,
            Outcome::TooLarge => validate::Facts::default(),
        };
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(());
        };
        let (stream_id, token) = (StreamId(id), stream.token);
        if facts.informational {
            if end_stream {
                return Err("1xx response with END_STREAM");
            }
        } else {
            if !stream.head_request && !facts.no_content {
                stream.content_left = facts.content_length;
            }
            if end_stream && stream.content_left.is_some_and(|left| left > 0) {
                return Err("content-length is not the length of the content");
            }
            stream.headers_received = true;
            stream.remote_open = !end_stream;
            self.finish_if_ended(id);
        }
        self.guard.message();
        let informational = facts.informational;
        let event = match outcome {
            Outcome::TooLarge => Event::HeadersTooLarge {
                stream: stream_id,
                token,
                end_stream,
            },
            Outcome::Complete => Event::Headers {
                stream: stream_id,
                token,
                block,
                informational,
                end_stream,
            },
        };
        handler.event(self, event);
        Ok(())
    }

    pub(super) fn trailers<H: Handler<T>>(
        &mut self,
        open: OpenBlock,
        outcome: Outcome,
        block: &mut Box<HeaderBlock>,
        handler: &mut H,
    ) -> Result<(), &'static str> {
        if !open.end_stream {
            return Err("trailers without END_STREAM");
        }
        if outcome == Outcome::Complete {
            validate::trailers(block)?;
        }
        let Some(stream) = self.streams.get_mut(open.stream) else {
            return Ok(());
        };
        if stream.content_left.is_some_and(|left| left > 0) {
            return Err("content-length is not the length of the content");
        }
        stream.remote_open = false;
        let token = stream.token;
        self.finish_if_ended(open.stream);
        self.guard.message();
        let stream = StreamId(open.stream);
        let event = match outcome {
            Outcome::TooLarge => Event::HeadersTooLarge {
                stream,
                token,
                end_stream: true,
            },
            Outcome::Complete => Event::Trailers {
                stream,
                token,
                block,
            },
        };
        handler.event(self, event);
        Ok(())
    }
}

/// The content-length of a request, if that is one.
fn check_request(
    open: OpenBlock,
    outcome: Outcome,
    block: &HeaderBlock,
) -> Result<Option<u64>, &'static str> {
    if open.depends_on_itself {
        return Err("stream depends on itself");
    }
    if outcome == Outcome::TooLarge {
        return Ok(None);
    }
    let facts = validate::request(block)?;
    if open.end_stream && facts.content_length.is_some_and(|length| length > 0) {
        return Err("content-length is not the length of the content");
    }
    Ok(facts.content_length)
}
