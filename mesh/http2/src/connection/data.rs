//! Payload that arrives.

use super::{
    Connection,
    reader::Stage,
    receive::protocol_error,
    streams::{Past, Side},
};
use crate::{
    ConnectionError, ErrorCode, Event, Handler, StreamId,
    frame::{Head, flag},
};

/// What is left of a DATA frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFrame {
    stream: u32,
    /// Payload that has not come, before the pad length is known with all of the padding.
    left: u32,
    padding: Padding,
    end_stream: bool,
    /// The stream is over: nothing is delivered.
    discard: bool,
}

#[derive(Clone, Copy, Debug)]
enum Padding {
    /// The next byte says how much.
    Unknown,
    Bytes(u32),
}

impl<T: Copy> Connection<T> {
    /// Counts a DATA frame against the windows and finds its stream.
    pub(super) fn begin_data<H: Handler<T>>(
        &mut self,
        head: Head,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let id = head.stream.0;
        if id == 0 {
            return Err(protocol_error("DATA on stream 0"));
        }
        self.frame_ended();
        self.receive_window -= i64::from(head.length);
        if self.receive_window < 0 {
            let reason = "more DATA than the connection's window";
            return Err(ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, reason));
        }
        self.give_connection_window();
        let end_stream = head.has(flag::END_STREAM);
        let padding = match (head.has(flag::PADDED), head.length) {
            (true, 0) => return Err(protocol_error("padding is longer than the frame")),
            (true, _) => Padding::Unknown,
            (false, _) => Padding::Bytes(0),
        };
        let discard = match self.refuse_data(id, head.length)? {
            Refusal::None => false,
            Refusal::Silent => true,
            Refusal::Stream(code, reason) => {
                self.stream_error(id, code, reason, handler)?;
                true
            }
        };
        let left = head.length;
        let mut frame = DataFrame {
            stream: id,
            left,
            padding,
            end_stream,
            discard,
        };
        if matches!(padding, Padding::Bytes(_)) {
            self.count_payload(&mut frame, handler)?;
        }
        self.reader.stage = Stage::Data(frame);
        Ok(())
    }

    /// Counts a frame whose payload's length is known now, of which nothing is delivered yet.
    fn count_payload<H: Handler<T>>(
        &mut self,
        frame: &mut DataFrame,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.data(frame.left, frame.end_stream, self.now)?;
        let Some(stream) = self
            .streams
            .get_mut(frame.stream)
            .filter(|_| !frame.discard)
        else {
            return Ok(());
        };
        let Some(left) = &mut stream.content_left else {
            return Ok(());
        };
        match left.checked_sub(u64::from(frame.left)) {
            Some(rest) if rest == 0 || !frame.end_stream => {
                *left = rest;
                Ok(())
            }
            _ => {
                frame.discard = true;
                let reason = "content-length is not the length of the content";
                self.stream_error(frame.stream, ErrorCode::PROTOCOL_ERROR, reason, handler)
            }
        }
    }

    /// Whether a stream may not have this DATA, and how bad that is.
    fn refuse_data(&mut self, id: u32, length: u32) -> Result<Refusal, ConnectionError> {
        let closed = |reason| Refusal::Stream(ErrorCode::STREAM_CLOSED, reason);
        let Some(stream) = self.streams.get_mut(id) else {
            if self.is_idle(id) {
                return Err(protocol_error("DATA on a stream that is not open"));
            }
            return match (self.streams.past(id), self.role) {
                (Some(Past::Reset(Side::Us) | Past::Refused), _) | (None, super::Role::Client) => {
                    Ok(Refusal::Silent)
                }
                (Some(Past::Ended), _) => {
                    let reason = "DATA on a stream that has ended";
                    Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, reason))
                }
                _ => Ok(closed("DATA on a stream that is over")),
            };
        };
        stream.receive_window -= i64::from(length);
        // All of it, although it may come in parts: what is on its way must not be given back.
        stream.unconsumed += i64::from(length);
        Ok(match stream.reset {
            Some(Side::Us) => Refusal::Silent,
            Some(Side::Peer) => closed("DATA after RST_STREAM"),
            None if !stream.remote_open => closed("DATA after END_STREAM"),
            None if !stream.headers_received => {
                Refusal::Stream(ErrorCode::PROTOCOL_ERROR, "DATA before HEADERS")
            }
            None if length > 0 && stream.receive_window < -self.early_window => Refusal::Stream(
                ErrorCode::FLOW_CONTROL_ERROR,
                "more DATA than the stream's window",
            ),
            None => Refusal::None,
        })
    }

    /// Delivers what has come of a frame. False if more is needed.
    pub(super) fn data<H: Handler<T>>(
        &mut self,
        mut frame: DataFrame,
        input: &mut &[u8],
        handler: &mut H,
    ) -> Result<bool, ConnectionError> {
        let padding = match frame.padding {
            Padding::Bytes(padding) => padding,
            Padding::Unknown => {
                let Some((&length, rest)) = input.split_first() else {
                    return Ok(false);
                };
                *input = rest;
                self.read_padding(&mut frame, u32::from(length), handler)?
            }
        };
        let (bytes, rest) = input.split_at(input.len().min(frame.left as usize));
        if bytes.is_empty() && frame.left > 0 {
            self.reader.stage = Stage::Data(frame);
            return Ok(false);
        }
        *input = rest;
        // At most `left`.
        frame.left -= bytes.len() as u32;
        self.reader.stage = match (frame.left, padding) {
            (0, 0) => Stage::Head,
            (0, _) => Stage::Skip(padding),
            _ => Stage::Data(frame),
        };
        if !frame.discard {
            let end_stream = frame.end_stream && frame.left == 0;
            self.deliver(frame.stream, bytes, end_stream, handler);
        }
        Ok(true)
    }

    fn read_padding<H: Handler<T>>(
        &mut self,
        frame: &mut DataFrame,
        length: u32,
        handler: &mut H,
    ) -> Result<u32, ConnectionError> {
        if length >= frame.left {
            return Err(protocol_error("padding is longer than the frame"));
        }
        frame.left -= 1 + length;
        frame.padding = Padding::Bytes(length);
        self.count_payload(frame, handler)?;
        // Nobody else consumes the padding.
        self.consumed(StreamId(frame.stream), 1 + length as usize);
        Ok(length)
    }

    fn deliver<H: Handler<T>>(&mut self, id: u32, bytes: &[u8], end_stream: bool, handler: &mut H) {
        // The user may have reset or released it since the frame began.
        let Some(stream) = self
            .streams
            .get_mut(id)
            .filter(|stream| stream.reset.is_none())
        else {
            return;
        };
        if bytes.is_empty() && !end_stream {
            return;
        }
        let token = stream.token;
        if end_stream {
            stream.remote_open = false;
            self.finish_if_ended(id);
        }
        handler.event(
            self,
            Event::Data {
                stream: StreamId(id),
                token,
                bytes,
                end_stream,
            },
        );
    }

    /// The connection's window is given back as DATA arrives: the streams' windows bound the memory.
    pub(super) fn give_connection_window(&mut self) {
        let target = i64::from(self.settings.connection_window_bytes);
        let due = target - self.receive_window;
        if due > 0 && due >= target / 2 {
            self.receive_window = target;
            // Below 2^31: the window is not negative here.
            self.output.window_update(0, due as u32);
        }
    }
}

enum Refusal {
    None,
    /// The peer could not know better.
    Silent,
    Stream(ErrorCode, &'static str),
}
