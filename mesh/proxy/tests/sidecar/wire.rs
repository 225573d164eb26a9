//! Both ends of a call as HTTP/2 sees them, frame by frame.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use weft_http2::{
    Connection, ErrorCode, Event, HeaderBlock, LastStream, Limits, Name, Settings, StreamId,
};

use crate::support::AUTHORITY;

const PATIENCE: Duration = Duration::from_secs(10);

/// What the other end did to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A header block, in parts that matter: `:path` of a request, else `grpc-status`.
    Headers {
        says: String,
        ends: bool,
    },
    Data {
        bytes: usize,
        ends: bool,
    },
    Trailers {
        status: String,
    },
    Reset(ErrorCode),
}

pub fn headers(says: &str, ends: bool) -> Seen {
    let says = says.to_owned();
    Seen::Headers { says, ends }
}

pub fn trailers(status: &str) -> Seen {
    let status = status.to_owned();
    Seen::Trailers { status }
}

/// One end of a connection.
pub struct Peer<S = TcpStream> {
    io: S,
    h2: Connection<()>,
    seen: VecDeque<(StreamId, Seen)>,
    /// What is called.
    pub path: &'static str,
}

/// A message of gRPC with seven bytes of payload.
pub const MESSAGE: &[u8] = b"\0\0\0\0\x07message";

impl Peer {
    /// A caller at an outbound listener.
    pub async fn caller(outbound: SocketAddr) -> Self {
        let tcp = TcpStream::connect(outbound).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::calling(tcp)
    }

    /// The workload, once the sidecar has sent a call: health checks come on connections of their own.
    pub async fn workload(listener: &TcpListener) -> Self {
        let called = timeout(PATIENCE, Self::until_called(listener));
        called.await.expect("a call comes")
    }

    async fn until_called(listener: &TcpListener) -> Self {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let h2 = Connection::server(&Settings::default(), &Limits::default(), Instant::now());
            let mut peer = Self::over(tcp, h2);
            let (stream, first) = peer.next().await;
            if matches!(&first, Seen::Headers { says, .. } if says.starts_with("/test.")) {
                peer.seen.push_front((stream, first));
                return peer;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A caller on a connection that is there.
    pub fn calling(io: S) -> Self {
        let (settings, limits) = (Settings::default(), Limits::default());
        Self::over(io, Connection::client(&settings, &limits, Instant::now()))
    }

    fn over(io: S, h2: Connection<()>) -> Self {
        let seen = VecDeque::new();
        Self {
            io,
            h2,
            seen,
            path: "/test.Wire/Call",
        }
    }

    /// Begins a call.
    pub fn call(&mut self, metadata: &[(Name, &str)], ends: bool) -> StreamId {
        let stream = self.h2.open(()).expect("there is room for a stream");
        let mut block = HeaderBlock::new();
        let fields = [
            (Name::Method, "POST"),
            (Name::Scheme, "http"),
            (Name::Authority, AUTHORITY),
            (Name::Path, self.path),
            (Name::ContentType, "application/grpc"),
            (Name::Te, "trailers"),
        ];
        for (name, value) in fields.iter().chain(metadata) {
            block.push(*name, value.as_bytes());
        }
        self.h2.send_headers(stream, &block, ends);
        stream
    }

    /// Begins an answer, or is all of it.
    pub fn answer(&mut self, stream: StreamId, status: Option<&str>) {
        let mut block = HeaderBlock::new();
        block.push(Name::Status, b"200");
        block.push(Name::ContentType, b"application/grpc");
        if let Some(status) = status {
            block.push(Name::GrpcStatus, status.as_bytes());
        }
        self.h2.send_headers(stream, &block, status.is_some());
    }

    pub fn end(&mut self, stream: StreamId, status: &str) {
        let mut block = HeaderBlock::new();
        block.push(Name::GrpcStatus, status.as_bytes());
        self.h2.send_headers(stream, &block, true);
    }

    pub fn say(&mut self, stream: StreamId, bytes: &[u8], ends: bool) {
        assert_eq!(self.h2.send_data(stream, bytes, ends), bytes.len());
    }

    /// Wants no more calls on this connection.
    pub fn go_away(&mut self) {
        let last = LastStream::Arrived;
        self.h2.go_away(ErrorCode::NO_ERROR, b"", last);
    }

    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.h2.reset(stream, code);
    }

    /// Says what there is to say, and waits for the next thing that the other end does to a stream.
    pub async fn next(&mut self) -> (StreamId, Seen) {
        timeout(PATIENCE, self.until_seen())
            .await
            .expect("something comes")
    }

    /// Says what there is to say, and hears nothing until the other end has answered that it has come.
    pub async fn hears_nothing(&mut self) {
        self.h2.ping(*b"are you?");
        let answered = async { while !self.receive().await {} };
        timeout(PATIENCE, answered).await.expect("it is there");
        assert_eq!(self.seen, []);
    }

    async fn until_seen(&mut self) -> (StreamId, Seen) {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return seen;
            }
            self.receive().await;
        }
    }

    /// Writes, then reads. True if a PING was answered.
    async fn receive(&mut self) -> bool {
        self.flush().await;
        let mut buffer = [0; 16 * 1024];
        let n = self.io.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the connection was closed");
        let (seen, mut answered) = (&mut self.seen, false);
        let mut events = |h2: &mut Connection<()>, event: Event<'_, ()>| {
            answered |= matches!(event, Event::PingAck { .. });
            seen.extend(see(h2, event));
        };
        let received = self.h2.receive(&buffer[..n], Instant::now(), &mut events);
        received.expect("the other end keeps the rules");
        self.flush().await;
        answered
    }

    pub async fn flush(&mut self) {
        self.io.write_all(self.h2.output()).await.unwrap();
        let written = self.h2.output().len();
        self.h2.written(written);
    }
}

fn see(h2: &mut Connection<()>, event: Event<'_, ()>) -> Option<(StreamId, Seen)> {
    let text = |block: &HeaderBlock, name| {
        let value = block.get(name).unwrap_or_default();
        String::from_utf8(value.to_vec()).unwrap()
    };
    Some(match event {
        Event::Headers {
            stream,
            block,
            end_stream: ends,
            ..
        } => {
            h2.set_token(stream, ());
            let path = text(block, Name::Path);
            let says = path + &text(block, Name::GrpcStatus);
            (stream, Seen::Headers { says, ends })
        }
        Event::Data {
            stream,
            bytes,
            end_stream: ends,
            ..
        } => {
            h2.consumed(stream, bytes.len());
            let bytes = bytes.len();
            (stream, Seen::Data { bytes, ends })
        }
        Event::Trailers { stream, block, .. } => {
            let status = text(block, Name::GrpcStatus);
            (stream, Seen::Trailers { status })
        }
        Event::Reset { stream, code, .. } => {
            h2.release(stream);
            (stream, Seen::Reset(code))
        }
        _ => return None,
    })
}
