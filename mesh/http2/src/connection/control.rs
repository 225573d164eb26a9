//! Frames that carry no message.

use super::{
    Connection, Role,
    receive::protocol_error,
    streams::{Past, Side},
    time::KEEPALIVE,
};
use crate::{
    ConnectionError, ErrorCode, Event, Handler, StreamId,
    frame::{DEFAULT_MAX_FRAME_BYTES, Head, MAX_WINDOW_BYTES, flag, kind, setting},
};

fn number(payload: &[u8]) -> u32 {
    // `check_size` has looked.
    payload
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn flow_control_error(reason: &'static str) -> ConnectionError {
    ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, reason)
}

impl<T: Copy> Connection<T> {
    pub(super) fn window_update<H: Handler<T>>(
        &mut self,
        id: u32,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.window_update(self.now)?;
        let increment = i64::from(number(payload) & StreamId::MAX.0);
        if id == 0 {
            return self.connection_window_update(increment, handler);
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return if self.is_idle(id) {
                Err(protocol_error("WINDOW_UPDATE on a stream that is not open"))
            } else {
                Ok(())
            };
        };
        if self.role == Role::Client && !stream.headers_sent {
            return Err(protocol_error("WINDOW_UPDATE on a stream that is not open"));
        }
        if stream.reset.is_some() {
            return Ok(());
        }
        if increment == 0 {
            let reason = "WINDOW_UPDATE by nothing";
            return self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason, handler);
        }
        let before = stream.send_window;
        if before + increment > i64::from(MAX_WINDOW_BYTES) {
            let reason = "window is too large";
            return self.stream_error(id, ErrorCode::FLOW_CONTROL_ERROR, reason, handler);
        }
        stream.send_window += increment;
        if before <= 0 && stream.send_window > 0 && stream.local_open {
            let event = Event::WindowOpened {
                stream: StreamId(id),
                token: stream.token,
            };
            handler.event(self, event);
        }
        Ok(())
    }

    fn connection_window_update<H: Handler<T>>(
        &mut self,
        increment: i64,
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        if increment == 0 {
            return Err(protocol_error("WINDOW_UPDATE by nothing"));
        }
        let before = self.send_window;
        self.send_window += increment;
        if self.send_window > i64::from(MAX_WINDOW_BYTES) {
            return Err(flow_control_error("window is too large"));
        }
        if before <= 0 {
            handler.event(self, Event::WindowsOpened);
        }
        Ok(())
    }

    pub(super) fn rst_stream<H: Handler<T>>(
        &mut self,
        id: u32,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get_mut(id) else {
            if self.is_idle(id) {
                return Err(protocol_error("RST_STREAM on a stream that is not open"));
            }
            // Whoever begins and resets without end is not let off because we refused the stream.
            return match self.streams.past(id) {
                Some(Past::Refused) => self.guard.reset(self.now),
                _ => self.guard.ignored_frame(self.now),
            };
        };
        if self.role == Role::Client && !stream.headers_sent {
            return Err(protocol_error("RST_STREAM on a stream that is not open"));
        }
        if stream.reset.is_some() {
            return self.guard.ignored_frame(self.now);
        }
        stream.reset = Some(Side::Peer);
        let event = Event::Reset {
            stream: StreamId(id),
            token: stream.token,
            code: ErrorCode(number(payload)),
        };
        // Whoever lets a stream live for a while before it resets it opens no more of them than anybody.
        let is_rapid = self.now < stream.since + self.limits.rapid_reset
            && self.role == Role::Server
            && !stream.headers_sent;
        handler.event(self, event);
        // After the event: the user stops the work even if this was one too many.
        if is_rapid {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.is_charged = true;
            }
            self.guard.reset(self.now)
        } else {
            Ok(())
        }
    }

    pub(super) fn settings<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.control_frame(self.now)?;
        if head.has(flag::ACK) {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            self.timers.settings = None;
            self.early_window = 0;
            if self.unacknowledged == 0 {
                self.resets_read(handler);
            }
            return Ok(());
        }
        if self.timers.preface.take().is_some() {
            self.peer.max_concurrent_streams = u32::MAX;
        }
        let mut opened = false;
        for parameter in payload.as_chunks::<6>().0 {
            let [i0, i1, v0, v1, v2, v3] = *parameter;
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            opened |= self.apply(u16::from_be_bytes([i0, i1]), value)?;
        }
        self.output.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        let pending = self.output.count_answer();
        self.guard.pending_answers(pending)?;
        handler.event(self, Event::SettingsChanged);
        if opened {
            handler.event(self, Event::WindowsOpened);
        }
        Ok(())
    }

    /// Applies one parameter and says whether that opened a window.
    fn apply(&mut self, id: u16, value: u32) -> Result<bool, ConnectionError> {
        match id {
            setting::HEADER_TABLE_SIZE => self.encoder.set_table_size(value as usize),
            setting::ENABLE_PUSH if value > u32::from(self.role == Role::Server) => {
                return Err(protocol_error("invalid ENABLE_PUSH"));
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_concurrent_streams = value,
            setting::INITIAL_WINDOW_SIZE => return self.apply_initial_window(value),
            setting::MAX_FRAME_SIZE => {
                if !(DEFAULT_MAX_FRAME_BYTES..1 << 24).contains(&value) {
                    return Err(protocol_error("invalid MAX_FRAME_SIZE"));
                }
                self.peer.max_frame = value;
            }
            _ => {}
        }
        Ok(false)
    }

    fn apply_initial_window(&mut self, value: u32) -> Result<bool, ConnectionError> {
        if value > MAX_WINDOW_BYTES {
            return Err(flow_control_error("invalid INITIAL_WINDOW_SIZE"));
        }
        let change = i64::from(value) - i64::from(self.peer.initial_window);
        self.peer.initial_window = value;
        let mut opened = false;
        if change == 0 {
            return Ok(false);
        }
        for stream in self.streams.iter_mut() {
            let before = stream.send_window;
            stream.send_window += change;
            if stream.send_window > i64::from(MAX_WINDOW_BYTES) {
                return Err(flow_control_error("window is too large"));
            }
            opened |= before <= 0 && stream.send_window > 0;
        }
        Ok(opened)
    }

    pub(super) fn ping_frame<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.control_frame(self.now)?;
        if !head.has(flag::ACK) {
            self.output.frame(kind::PING, flag::ACK, 0, payload);
            let pending = self.output.count_answer();
            return self.guard.pending_answers(pending);
        }
        if let Some(payload) = payload
            .first_chunk::<8>()
            .filter(|payload| **payload != KEEPALIVE)
        {
            handler.event(self, Event::PingAck { payload: *payload });
        }
        Ok(())
    }

    pub(super) fn go_away_frame<H: Handler<T>>(
        &mut self,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.control_frame(self.now)?;
        self.peer_going_away = true;
        let (last, rest) = payload.split_at(4);
        let (code, debug) = rest.split_at(4);
        let last = number(last) & StreamId::MAX.0;
        let code = ErrorCode(number(code));
        handler.event(
            self,
            Event::GoAway {
                last_stream: StreamId(last),
                code,
                debug,
            },
        );
        if self.role == Role::Client {
            self.refuse_above(last, handler);
        }
        Ok(())
    }

    /// Tells the user which streams of ours the peer will not process.
    fn refuse_above<H: Handler<T>>(&mut self, last: u32, handler: &mut H) {
        let above = |id| id > last;
        let streams = self.streams.iter_mut();
        let mut refused: Vec<_> = streams
            .filter(|stream| above(stream.id) && stream.reset.is_none())
            .map(|stream| (stream.id, stream.token))
            .collect();
        refused.sort_unstable_by_key(|(id, _)| *id);
        for (id, token) in refused {
            self.streams.remove(id, Past::Reset(Side::Us));
            handler.event(
                self,
                Event::Refused {
                    stream: StreamId(id),
                    token,
                },
            );
        }
    }

    /// Priorities were never used by anyone here and are obsolete; what is wrong with them is told.
    pub(super) fn priority<H: Handler<T>>(
        &mut self,
        head: Head,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), ConnectionError> {
        self.guard.ignored_frame(self.now)?;
        let id = head.stream.0;
        let (code, reason) = if payload.len() != 5 {
            (ErrorCode::FRAME_SIZE_ERROR, "frame of a wrong size")
        } else if number(payload) & StreamId::MAX.0 == id {
            (ErrorCode::PROTOCOL_ERROR, "stream depends on itself")
        } else {
            return Ok(());
        };
        if self.is_idle(id) {
            // It cannot be reset.
            return Err(ConnectionError::new(code, reason));
        }
        self.stream_error(id, code, reason, handler)
    }
}
