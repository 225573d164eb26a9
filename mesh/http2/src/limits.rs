//! What a peer may do, and where each number comes from.

use std::time::Duration;

use crate::frame::{DEFAULT_MAX_FRAME_BYTES, DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES};

/// What we tell the peer in our SETTINGS frame and the first WINDOW_UPDATE. A value that RFC 9113 does not
/// allow is replaced by the nearest that it does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many streams the peer may have open. 100: Envoy's edge settings. A client tells none.
    pub max_concurrent_streams: u32,
    /// How many bytes the peer may send on a new stream before the user calls
    /// [`Connection::consumed`](crate::Connection::consumed). 64 KiB: Envoy's edge settings.
    pub initial_window_bytes: u32,
    /// How many bytes may be under way on the whole connection. The memory is bounded by the streams'
    /// windows, so this one only has to be large enough not to slow them down together. 16 MiB.
    pub connection_window_bytes: u32,
    /// The largest frame the peer may send. 16 KiB, the least that is allowed: payload is forwarded in
    /// parts in any case.
    pub max_frame_bytes: u32,
    /// The largest header list, names and values and 32 bytes for each field. 32 KiB: twice what gRPC
    /// accepts at most, half of Envoy's.
    pub max_header_list_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            initial_window_bytes: 64 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
            max_frame_bytes: 16 * 1024,
            max_header_list_bytes: 32 * 1024,
        }
    }
}

impl Settings {
    pub(crate) fn within_rfc(&self) -> Self {
        Self {
            initial_window_bytes: self.initial_window_bytes.min(MAX_WINDOW_BYTES),
            // It starts with the default and cannot be made smaller.
            connection_window_bytes: self
                .connection_window_bytes
                .clamp(DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES),
            max_frame_bytes: self
                .max_frame_bytes
                .clamp(DEFAULT_MAX_FRAME_BYTES, (1 << 24) - 1),
            ..self.clone()
        }
    }
}

/// When to ask a silent peer whether it is still there.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// A PING goes out after this long without a byte from the peer.
    pub interval: Duration,
    /// The connection fails if then nothing comes for this long.
    pub timeout: Duration,
    /// Also when no stream is open.
    pub without_streams: bool,
}

/// How much misbehaviour a connection bears. Each count is a budget: what a peer does right gives
/// some of it back, and time does slowly, so that a long connection does not die of rare events.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams the peer resets as soon as they began (rapid reset, CVE-2023-44487). 200: hyper closes
    /// between 100 and 250. Each stream that ends well gives one back, and each that the user held on to
    /// when it was reset and has released since.
    pub resets: u32,
    /// Until when a reset is of that kind, unless the stream was answered before. 40 ms: with 100 streams at
    /// a time, whoever waits so long opens 2,500 a second, which others do who let theirs end.
    pub rapid_reset: Duration,
    /// Client: resets of streams without an answer that the peer may not have read; further ones wait until
    /// it has. 8: h2 closes the connection at 21 that it reads with their requests.
    pub unread_resets: usize,
    /// Client: resets of streams without an answer, less streams that ended well, after which no streams are
    /// opened. 100: with as many open, the budget of a peer like us lasts.
    pub unanswered_resets: u32,
    /// Streams we reset because the peer broke a rule (MadeYouReset, CVE-2025-8671). 100: a tenth of
    /// hyper's.
    pub provoked_resets: u32,
    /// Streams opened above the limit and refused. 1,000: a burst sent before our SETTINGS arrived.
    pub refused_streams: u32,
    /// PING and SETTINGS frames without HEADERS or DATA in between. 1,000: Envoy's.
    pub control_frames: u32,
    /// Answers to PING and SETTINGS that the peer has not read yet. 1,000: Envoy's.
    pub pending_answers: u32,
    /// DATA frames without END_STREAM that carry less than a gRPC message's head of 5 bytes. 2,000;
    /// payload gives back.
    pub tiny_data_frames: u32,
    /// WINDOW_UPDATE frames; each DATA frame we send gives 10 back, as in Envoy. 1,000.
    pub window_updates: u32,
    /// PRIORITY frames and frames of unknown types. 1,000; each request gives 10 back.
    pub ignored_frames: u32,
    /// CONTINUATION frames of one header block. 16 is enough for the largest block (four times the list
    /// limit) in frames of 8 KiB.
    pub continuation_frames: u32,
    /// Output that is not written yet, beyond which [`Connection::send_data`](crate::Connection::send_data)
    /// takes nothing. 256 KiB: a few socket buffers.
    pub output_bytes: usize,
    /// Output that is not written yet, at which a new request ends the connection, and no stream is opened
    /// on a client: the peer makes us answer and does not read. 2 MiB: what is sent beside payload, for
    /// 100 streams of the largest header lists that gRPC accepts.
    pub unread_output_bytes: usize,
    /// How long the peer may take for preface and first SETTINGS. 5 s.
    pub preface_timeout: Duration,
    /// How long the peer may take to acknowledge our SETTINGS. 10 s.
    pub settings_timeout: Duration,
    /// How long the peer may take to say that it has read resets. 30 s: gRPC servers under load pause.
    pub resets_timeout: Duration,
    /// How long a header block, or any other frame than DATA, may be unfinished. 10 s.
    pub frame_timeout: Duration,
    /// Off by default.
    pub keepalive: Option<Keepalive>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resets: 200,
            rapid_reset: Duration::from_millis(40),
            unread_resets: 8,
            unanswered_resets: 100,
            provoked_resets: 100,
            refused_streams: 1_000,
            control_frames: 1_000,
            pending_answers: 1_000,
            tiny_data_frames: 2_000,
            window_updates: 1_000,
            ignored_frames: 1_000,
            continuation_frames: 16,
            output_bytes: 256 * 1024,
            unread_output_bytes: 2 * 1024 * 1024,
            preface_timeout: Duration::from_secs(5),
            settings_timeout: Duration::from_secs(10),
            resets_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(10),
            keepalive: None,
        }
    }
}
