//! One HTTP/2 connection.

mod budget;
mod control;
mod data;
mod facts;
mod guard;
mod headers;
mod message;
mod output;
mod reader;
mod receive;
mod resets;
mod send;
mod streams;
mod time;

use std::time::Instant;

use self::{
    guard::Guard,
    output::Output,
    reader::Reader,
    resets::Resets,
    streams::{Past, Stream, Streams},
    time::Timers,
};
use crate::{
    ConnectionError, ErrorCode, HeaderBlock, Limits, Settings, StreamId,
    frame::{DEFAULT_MAX_FRAME_BYTES, DEFAULT_WINDOW_BYTES, PREFACE, kind, setting},
    hpack::{Decoder, Encoder},
};

/// What a GOAWAY of ours says about streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastStream {
    /// All that are under way will be processed (2^31-1): the announcement of a graceful shutdown.
    All,
    /// Only those that have arrived; later ones are ignored.
    Arrived,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Client,
    Server,
}

/// What the peer's SETTINGS say.
#[derive(Clone, Copy, Debug)]
struct PeerSettings {
    max_concurrent_streams: u32,
    initial_window: u32,
    max_frame: u32,
}

/// One HTTP/2 connection, without its socket. `T` is the user's token for a stream.
///
/// A stream is forgotten when both halves ended with END_STREAM. After a reset, by whichever side, it
/// still counts as open until [`release`](Self::release), so that work which is not really over keeps
/// its place. All methods that name a stream do nothing for one that is forgotten or reset: events
/// about it may still be on their way to the user.
#[derive(Debug)]
pub struct Connection<T> {
    role: Role,
    settings: Settings,
    limits: Limits,
    peer: PeerSettings,
    /// How much more than our initial window the peer may send on a stream, because it does not know
    /// our SETTINGS yet.
    early_window: i64,
    reader: Reader,
    decoder: Decoder,
    encoder: Encoder,
    /// Reused for every block that is received; taken out while the handler has it.
    block: Option<Box<HeaderBlock>>,
    streams: Streams<T>,
    output: Output,
    /// What we may send on all streams together.
    send_window: i64,
    /// Payload that was queued so far.
    payload_sent: u64,
    /// What the peer may send on all streams together.
    receive_window: i64,
    /// Received bytes are being handled.
    is_receiving: bool,
    /// Streams whose windows came due meanwhile.
    due_windows: Vec<u32>,
    /// The next stream of ours, on a client.
    next_id: u32,
    /// The last stream of the peer, on a server.
    last_peer_id: u32,
    /// The last stream our GOAWAY named.
    going_away: Option<u32>,
    peer_going_away: bool,
    guard: Guard,
    resets: Resets,
    /// SETTINGS frames of ours that the peer has not acknowledged.
    unacknowledged: u32,
    timers: Timers,
    now: Instant,
    error: Option<ConnectionError>,
}

impl<T: Copy> Connection<T> {
    /// The side that accepted the connection. Queues our SETTINGS.
    pub fn server(settings: &Settings, limits: &Limits, now: Instant) -> Self {
        Self::new(Role::Server, settings, limits, now)
    }

    /// The side that made the connection. Queues preface and SETTINGS; streams may be opened at once.
    pub fn client(settings: &Settings, limits: &Limits, now: Instant) -> Self {
        Self::new(Role::Client, settings, limits, now)
    }

    fn new(role: Role, settings: &Settings, limits: &Limits, now: Instant) -> Self {
        let settings = settings.within_rfc();
        let mut connection = Self {
            role,
            limits: limits.clone(),
            peer: PeerSettings {
                // What most servers allow: few are refused before the SETTINGS arrive.
                max_concurrent_streams: 100,
                initial_window: DEFAULT_WINDOW_BYTES,
                max_frame: DEFAULT_MAX_FRAME_BYTES,
            },
            early_window: i64::from(
                DEFAULT_WINDOW_BYTES.saturating_sub(settings.initial_window_bytes),
            ),
            reader: Reader::new(role),
            decoder: Decoder::new(settings.max_header_list_bytes as usize),
            encoder: Encoder::default(),
            block: None,
            streams: Streams::new(),
            output: Output::default(),
            send_window: i64::from(DEFAULT_WINDOW_BYTES),
            payload_sent: 0,
            receive_window: i64::from(DEFAULT_WINDOW_BYTES),
            is_receiving: false,
            due_windows: Vec::new(),
            next_id: 1,
            last_peer_id: 0,
            going_away: None,
            peer_going_away: false,
            guard: Guard::new(limits, now),
            resets: Resets::default(),
            unacknowledged: 0,
            timers: Timers::new(limits, now),
            now,
            error: None,
            settings,
        };
        connection.greet();
        connection
    }

    /// Queues what a connection starts with.
    fn greet(&mut self) {
        let settings = &self.settings;
        let mut payload = Vec::new();
        let mut put = |id: u16, value: u32| {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        };
        match self.role {
            Role::Client => put(setting::ENABLE_PUSH, 0),
            Role::Server => put(
                setting::MAX_CONCURRENT_STREAMS,
                settings.max_concurrent_streams,
            ),
        }
        put(setting::INITIAL_WINDOW_SIZE, settings.initial_window_bytes);
        put(setting::MAX_FRAME_SIZE, settings.max_frame_bytes);
        put(
            setting::MAX_HEADER_LIST_SIZE,
            settings.max_header_list_bytes,
        );
        if self.role == Role::Client {
            self.output.buffer().extend_from_slice(PREFACE);
        }
        self.output.frame(kind::SETTINGS, 0, 0, &payload);
        self.unacknowledged += 1;
        self.give_connection_window();
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// Whether there is something to write.
    pub fn has_output(&self) -> bool {
        self.output.len() > 0
    }

    /// Whether what is to be written should be at once. WINDOW_UPDATE alone is better written with what
    /// follows, if that is soon: it costs both sides as much as payload does.
    pub fn is_urgent(&self) -> bool {
        self.output.is_urgent
    }

    /// So many bytes of [`output`](Self::output) were written. True if [`send_data`](Self::send_data)
    /// took less than it was given because of [`Limits::output_bytes`], and would take more now: said once.
    pub fn written(&mut self, n: usize) -> bool {
        self.output.written(n);
        let opened = self.output.held && self.output.len() <= self.limits.output_bytes / 2;
        self.output.held &= !opened;
        opened
    }

    /// The user is done with a stream. One that has not ended is reset with CANCEL.
    pub fn release(&mut self, stream: StreamId) {
        if self.streams.get(stream.0).is_none() {
            return;
        }
        self.reset(stream, ErrorCode::CANCEL);
        let Some(found) = self.streams.get_mut(stream.0) else {
            return;
        };
        found.is_released = true;
        if found.is_charged {
            self.guard.reset_is_over();
        }
        if let (Some(side), false) = (found.reset, found.held) {
            self.streams.remove(stream.0, Past::Reset(side));
        }
    }

    /// Says that the connection will end. For a graceful end first with [`LastStream::All`], a round
    /// trip later with [`LastStream::Arrived`]; close when [`open_streams`](Self::open_streams) is 0.
    pub fn go_away(&mut self, code: ErrorCode, debug: &[u8], last: LastStream) {
        let last = match last {
            LastStream::All => StreamId::MAX.0,
            LastStream::Arrived => self.last_peer_id,
        };
        // It must not grow from one GOAWAY to the next.
        let last = self.going_away.map_or(last, |before| before.min(last));
        self.going_away = Some(last);
        self.output.go_away(last, code, debug);
    }

    /// Queues the GOAWAY of an error, once.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        if let Some(first) = self.error {
            return first;
        }
        self.go_away(error.code, error.reason.as_bytes(), LastStream::Arrived);
        self.error = Some(error);
        error
    }

    fn new_stream(&self, id: u32, token: Option<T>) -> Stream<T> {
        Stream {
            id,
            token,
            send_window: i64::from(self.peer.initial_window),
            receive_window: i64::from(self.settings.initial_window_bytes),
            target_window: i64::from(self.settings.initial_window_bytes),
            unconsumed: 0,
            content_left: None,
            local_open: true,
            remote_open: true,
            headers_sent: false,
            headers_received: false,
            head_request: false,
            since: self.now,
            reset: None,
            held: false,
            is_released: false,
            is_charged: false,
        }
    }

    /// Forgets a stream of which both halves have ended.
    fn finish_if_ended(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id)
            && !stream.local_open
            && !stream.remote_open
            && stream.reset.is_none()
        {
            self.streams.remove(id, Past::Ended);
            self.guard.stream_ended();
            self.resets.stream_ended();
        }
    }

    /// A stream that neither side has opened yet.
    fn is_idle(&self, id: u32) -> bool {
        match (self.role, id % 2) {
            (Role::Server, 1) => id > self.last_peer_id,
            (Role::Client, 1) => id >= self.next_id,
            // Server push does not exist here.
            _ => true,
        }
    }
}
