//! Frames by hand, and a connection that notes what it is told.

use std::time::Instant;

use weft_http2::{
    Connection, ConnectionError, ErrorCode, Event, HeaderBlock, Limits, Settings, StreamId,
    frame::{HEAD_BYTES, Head, PREFACE, flag, kind},
};

pub use weft_http2::frame::{
    flag::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY as WITH_PRIORITY},
    kind::*,
};

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Literals that are not indexed: any fields, however wrong.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        assert!(name.len() < 127 && value.len() < 127);
        bytes.extend([0, name.len() as u8]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(value.len() as u8);
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

pub const REQUEST: [(&str, &str); 5] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "orders"),
    ("te", "trailers"),
];

pub fn headers(stream: u32, end_stream: bool, list: &[(&str, &str)]) -> Vec<u8> {
    let end = if end_stream { flag::END_STREAM } else { 0 };
    frame(
        kind::HEADERS,
        flag::END_HEADERS | end,
        stream,
        &fields(list),
    )
}

pub fn request(stream: u32, end_stream: bool) -> Vec<u8> {
    headers(stream, end_stream, &REQUEST)
}

pub fn data(stream: u32, end_stream: bool, payload: &[u8]) -> Vec<u8> {
    frame(
        kind::DATA,
        if end_stream { flag::END_STREAM } else { 0 },
        stream,
        payload,
    )
}

pub fn reset(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn settings(list: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in list {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

pub fn settings_ack() -> Vec<u8> {
    frame(kind::SETTINGS, flag::ACK, 0, &[])
}

/// What a client sends before its first request.
pub fn client_hello() -> Vec<u8> {
    [PREFACE.to_vec(), settings(&[]), settings_ack()].concat()
}

/// What a server sends before its first response.
pub fn server_hello() -> Vec<u8> {
    [settings(&[]), settings_ack()].concat()
}

pub fn block(list: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for (name, value) in list {
        block.push_by_name(name.as_bytes(), value.as_bytes());
    }
    block
}

fn list(block: &HeaderBlock) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    block
        .iter()
        .map(|field| (text(field.name_bytes), text(field.value)))
        .collect()
}

/// An event that is kept. Parts of DATA are joined.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Headers {
        stream: u32,
        token: Option<u32>,
        fields: Vec<(String, String)>,
        end_stream: bool,
    },
    Informational {
        stream: u32,
        status: String,
    },
    Trailers {
        stream: u32,
        fields: Vec<(String, String)>,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        end_stream: bool,
    },
    Reset {
        stream: u32,
        code: ErrorCode,
    },
    WindowOpened {
        stream: u32,
    },
    WindowsOpened,
    GoAway {
        last_stream: u32,
        code: ErrorCode,
        debug: Vec<u8>,
    },
    Refused {
        stream: u32,
        token: Option<u32>,
    },
    PingAck([u8; 8]),
    ResetsRead,
    HeadersTooLarge {
        stream: u32,
        end_stream: bool,
    },
    Malformed {
        stream: u32,
        code: ErrorCode,
        reason: &'static str,
    },
}

/// Notes events; SETTINGS are not worth noting.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<Told>);

impl Notes {
    pub fn note(&mut self, event: Event<'_, u32>) {
        let told = match event {
            Event::Headers {
                stream,
                block,
                informational: true,
                ..
            } => Told::Informational {
                stream: stream.value(),
                status: list(block).remove(0).1,
            },
            Event::Headers {
                stream,
                token,
                block,
                end_stream,
                ..
            } => Told::Headers {
                stream: stream.value(),
                token,
                fields: list(block),
                end_stream,
            },
            Event::Trailers { stream, block, .. } => Told::Trailers {
                stream: stream.value(),
                fields: list(block),
            },
            Event::Data {
                stream,
                bytes,
                end_stream,
                ..
            } => {
                let (stream, new) = (stream.value(), bytes);
                if let Some(Told::Data {
                    stream: last,
                    bytes,
                    end_stream: ended,
                }) = self.0.last_mut()
                    && *last == stream
                    && !*ended
                {
                    bytes.extend_from_slice(new);
                    *ended = end_stream;
                    return;
                }
                Told::Data {
                    stream,
                    bytes: new.to_vec(),
                    end_stream,
                }
            }
            Event::Reset { stream, code, .. } => Told::Reset {
                stream: stream.value(),
                code,
            },
            Event::WindowOpened { stream, .. } => Told::WindowOpened {
                stream: stream.value(),
            },
            Event::WindowsOpened => Told::WindowsOpened,
            Event::GoAway {
                last_stream,
                code,
                debug,
            } => Told::GoAway {
                last_stream: last_stream.value(),
                code,
                debug: debug.to_vec(),
            },
            Event::Refused { stream, token } => Told::Refused {
                stream: stream.value(),
                token,
            },
            Event::SettingsChanged => return,
            Event::ResetsRead => Told::ResetsRead,
            Event::PingAck { payload } => Told::PingAck(payload),
            Event::HeadersTooLarge {
                stream, end_stream, ..
            } => Told::HeadersTooLarge {
                stream: stream.value(),
                end_stream,
            },
            Event::Malformed {
                stream,
                code,
                reason,
                ..
            } => Told::Malformed {
                stream: stream.value(),
                code,
                reason,
            },
        };
        self.0.push(told);
    }
}

/// Frames that a connection sent.
pub type Frames = Vec<(Head, Vec<u8>)>;

/// A connection and what it told since the last look.
#[derive(Debug)]
pub struct Side {
    pub connection: Connection<u32>,
    pub notes: Notes,
    pub now: Instant,
    pub ids: Vec<StreamId>,
    /// The user releases a stream as soon as it is reset.
    pub lets_go: bool,
}

impl Side {
    pub fn server() -> Self {
        Self::server_with(&Settings::default(), &Limits::default())
    }

    /// A server whose peer has said hello.
    pub fn server_with(settings: &Settings, limits: &Limits) -> Self {
        let now = Instant::now();
        let mut side = Self::new(Connection::server(settings, limits, now), now);
        side.receive(&client_hello()).unwrap();
        side.take_output();
        side
    }

    pub fn client() -> Self {
        Self::client_with(&Settings::default(), &Limits::default())
    }

    /// A client whose peer has said hello.
    pub fn client_with(settings: &Settings, limits: &Limits) -> Self {
        let now = Instant::now();
        let mut side = Self::new(Connection::client(settings, limits, now), now);
        side.receive(&server_hello()).unwrap();
        side.take_output();
        side
    }

    pub fn new(connection: Connection<u32>, now: Instant) -> Self {
        Self {
            connection,
            notes: Notes::default(),
            now,
            ids: Vec::new(),
            lets_go: false,
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let (notes, ids, lets_go) = (&mut self.notes, &mut self.ids, self.lets_go);
        let mut handler = |connection: &mut Connection<u32>, event: Event<'_, u32>| {
            if let (Event::Reset { stream, .. }, true) = (&event, lets_go) {
                connection.release(*stream);
            }
            if let Event::Headers { stream, .. } | Event::HeadersTooLarge { stream, .. } = event {
                ids.push(stream);
            }
            notes.note(event);
        };
        self.connection.receive(bytes, self.now, &mut handler)
    }

    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.notes.0)
    }

    /// The frames that were queued, all written now.
    pub fn take_output(&mut self) -> Frames {
        let output = self.connection.output().to_vec();
        self.connection.written(output.len());
        let rest = output.strip_prefix(PREFACE).unwrap_or(&output);
        frames(rest)
    }

    /// Opens a stream on a client and sends a request on it.
    pub fn call(&mut self, token: u32, end_stream: bool) -> StreamId {
        let stream = self.connection.open(token).unwrap();
        self.connection
            .send_headers(stream, &block(&REQUEST), end_stream);
        stream
    }

    /// The streams that were reset, and why, of all that was queued.
    pub fn take_resets(&mut self) -> Vec<(u32, ErrorCode)> {
        let output = self.take_output();
        let resets = output
            .into_iter()
            .filter(|(head, _)| head.kind == kind::RST_STREAM);
        resets
            .map(|(head, payload)| (head.stream.value(), code(&payload)))
            .collect()
    }
}

pub fn code(payload: &[u8]) -> ErrorCode {
    ErrorCode(u32::from_be_bytes(*payload.first_chunk().unwrap()))
}

pub fn frames(mut rest: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let head = Head::parse(head);
        let (payload, after) = after.split_at(head.length as usize);
        frames.push((head, payload.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty(), "a whole number of frames");
    frames
}

/// What a fresh connection makes of an input, the same in one piece and cut anywhere.
#[track_caller]
pub fn in_pieces(
    fresh: impl Fn() -> Side,
    input: &[u8],
) -> (Vec<Told>, Result<(), ConnectionError>, Frames) {
    let run = |cut: usize| {
        let mut side = fresh();
        side.take_told();
        let (first, second) = input.split_at(cut);
        let result = side.receive(first).and_then(|()| side.receive(second));
        (side.take_told(), result, side.take_output())
    };
    let whole = run(input.len());
    for cut in 0..input.len() {
        assert_eq!(run(cut), whole, "cut at {cut}");
    }
    let mut bytewise = fresh();
    bytewise.take_told();
    let result = input.iter().try_for_each(|byte| bytewise.receive(&[*byte]));
    assert_eq!(
        (bytewise.take_told(), result, bytewise.take_output()),
        whole,
        "byte by byte"
    );
    whole
}
