//! One TCP connection: socket, TLS if it has any, HTTP/2. Bytes move here and nowhere else.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, net::TcpStream};
use weft_http2::Connection;

use super::{
    abandon::Abandoned,
    ended::Ended,
    kind::{Kind, Phase, Token},
    life::MAX_AGE,
    wire::Wire,
};

/// How much room for output a connection keeps that has nothing to write.
const KEPT_BYTES: usize = 16 * 1024;

/// How many turns WINDOW_UPDATE waits for something to be written with.
const WAIT_TURNS: u8 = 4;

/// One TCP connection.
pub(crate) struct Link {
    /// `None` once it is over: the slot may stay free for long, and the socket must be closed now.
    socket: Option<TcpStream>,
    pub(crate) peer: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    /// `None` on a cleartext connection, and while it handles what was received.
    pub(crate) wire: Option<Box<Wire>>,
    /// `None` before HTTP/2 begins, and while it handles what was received.
    pub(crate) h2: Option<Box<Connection<Token>>>,
    /// It has been [`Phase::Open`].
    pub(crate) was_open: bool,
    pub(crate) opened: Instant,
    /// A caller is asked to connect anew after this.
    pub(crate) max_age: Duration,
    /// When the socket last took something.
    pub(crate) last_write: Instant,
    /// How much payload had been sent, and when that was last as it should be: nothing waited, or more had
    /// been sent than before.
    pub(crate) taken: (u64, Instant),
    /// Streams whose payload waits for a window or for room in the output.
    pub(crate) blocked: Vec<Token>,
    /// Streams of which provably nothing was sent yet: begun since the last write.
    pub(crate) unsent: Vec<Token>,
    /// Streams that were reset and perhaps not read, whose caller has gone away.
    pub(crate) abandoned: VecDeque<Abandoned>,
    /// Waits for the socket to take more.
    is_full: bool,
    /// The peer sends nothing more than what is there to be read.
    pub(crate) has_hung_up: bool,
    pub(super) is_dirty: bool,
    /// How many turns what it has to write has waited.
    pub(super) waited: u8,
    /// Streams of calls of this caller that have more than the first window.
    pub(super) wide: u32,
    /// The first GOAWAY was sent at this instant.
    pub(crate) leaving_since: Option<Instant>,
    /// The second was sent: new streams are ignored.
    pub(crate) has_left: bool,
    /// Why it is closing, and since when.
    pub(crate) verdict: Option<(Ended, Instant)>,
}

impl Link {
    pub(crate) fn new(socket: TcpStream, peer: SocketAddr, kind: Kind, now: Instant) -> Self {
        Self {
            socket: Some(socket),
            peer,
            kind,
            phase: Phase::Connecting,
            wire: None,
            h2: None,
            was_open: false,
            opened: now,
            max_age: MAX_AGE,
            last_write: now,
            taken: (0, now),
            blocked: Vec::new(),
            unsent: Vec::new(),
            abandoned: VecDeque::new(),
            is_full: false,
            has_hung_up: false,
            is_dirty: false,
            waited: 0,
            wide: 0,
            leaving_since: None,
            has_left: false,
            verdict: None,
        }
    }

    /// Tells the loop what becomes of the socket.
    pub(crate) fn register(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        let _ = socket.set_nodelay(true);
        registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether TCP is connected by now, or why it never will be.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let Some(socket) = &self.socket else {
            return Ok(false);
        };
        match socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(socket.peer_addr().is_ok()),
        }
    }

    pub(crate) fn is_downstream(&self) -> bool {
        matches!(self.kind, Kind::Downstream { .. })
    }

    /// Reads once. Gives the bytes to be fed, in front of which stands what was left of a TLS record,
    /// and whether the socket may have more. Nothing: it has no more for now.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> Result<Option<(usize, bool)>, Ended> {
        let kept = match &mut self.wire {
            Some(wire) => wire.tls.take_partial(room),
            None => 0,
        };
        let read = self.read_once(&mut room[kept..]);
        if let (Ok(0) | Err(_), Some(wire)) = (&read, &mut self.wire) {
            wire.tls.keep_partial(&room[..kept]);
        }
        Ok(match read? {
            0 => None,
            read => Some((kept + read, kept + read == room.len() || self.has_hung_up)),
        })
    }

    fn read_once(&mut self, room: &mut [u8]) -> Result<usize, Ended> {
        let Some(socket) = &mut self.socket else {
            return Err(Ended::Closed);
        };
        loop {
            match socket.read(room) {
                Ok(0) => return Err(Ended::Closed),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::Io(error)),
            }
        }
    }

    /// Writes what is queued, as much as the socket takes. True if streams that waited for room in the
    /// output may go on.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<bool> {
        let mut has_room = false;
        self.waited = 0;
        let Some(socket) = &mut self.socket else {
            return Ok(has_room);
        };
        while !self.is_full {
            let written = match (&mut self.wire, &mut self.h2) {
                (Some(wire), h2) => {
                    if wire.outgoing.is_empty() {
                        has_room |= h2.as_mut().is_some_and(|h2| wire.encrypt(h2));
                    }
                    if wire.outgoing.is_empty() {
                        break;
                    }
                    let written = write(socket, wire.outgoing.pending())?;
                    wire.outgoing.written(written.unwrap_or(0));
                    written
                }
                (None, Some(h2)) if h2.has_output() => {
                    let written = write(socket, h2.output())?;
                    has_room |= h2.written(written.unwrap_or(0));
                    written
                }
                _ => break,
            };
            match written {
                Some(_) => {
                    self.last_write = now;
                    self.unsent.clear();
                }
                None => self.is_full = true,
            }
        }
        Ok(has_room)
    }

    /// The socket takes more.
    pub(crate) fn is_writable(&mut self) {
        self.is_full = false;
    }

    /// Gives memory back that was needed once.
    pub(crate) fn shrink(&mut self) {
        if let Some(h2) = &mut self.h2 {
            h2.shrink(KEPT_BYTES);
        }
        if let Some(wire) = &mut self.wire {
            wire.outgoing.shrink(KEPT_BYTES);
        }
    }

    /// Whether something waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.has_ciphertext() || self.h2.as_ref().is_some_and(|h2| h2.has_output())
    }

    /// Whether what is to be written may wait for the next turn, to be written with what comes then.
    pub(crate) fn may_wait(&self) -> bool {
        let has_time = |h2: &Connection<Token>| h2.has_output() && !h2.is_urgent();
        self.waited < WAIT_TURNS
            && !self.has_ciphertext()
            && self.h2.as_deref().is_some_and(has_time)
    }

    /// How many bytes wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        let wire = self.wire.as_ref();
        let h2 = self.h2.as_ref();
        wire.map_or(0, |wire| wire.outgoing.pending().len()) + h2.map_or(0, |h2| h2.output().len())
    }

    fn has_ciphertext(&self) -> bool {
        let wire = self.wire.as_ref();
        wire.is_some_and(|wire| !wire.outgoing.is_empty())
    }

    /// Says that nothing will follow: in TLS, then in TCP.
    pub(crate) fn shut_down(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        if let Some(wire) = &mut self.wire {
            wire.tls.close(&mut wire.outgoing);
            // If the socket is full, the peer learns it from TCP alone.
            let _ = write(socket, wire.outgoing.pending());
            let all = wire.outgoing.pending().len();
            wire.outgoing.written(all);
        }
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }

    /// TCP is not connected yet.
    pub(crate) fn is_half_made(&self) -> bool {
        self.phase == Phase::Connecting && self.wire.is_none() && self.h2.is_none()
    }

    /// TCP is connected, TLS is not finished.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.wire.is_some() && self.h2.is_none() && self.phase == Phase::Connecting
    }

    /// Nothing but TCP, half a handshake or half a preface.
    pub(crate) fn has_not_begun(&self) -> bool {
        self.h2.as_ref().is_none_or(|h2| !h2.has_begun())
    }

    /// Closes the socket and gives memory back: the slot may stay free for long.
    pub(crate) fn empty(&mut self, registry: &Registry) {
        if let Some(mut socket) = self.socket.take() {
            let _ = registry.deregister(&mut socket);
        }
        self.wire = None;
        self.h2 = None;
        self.blocked = Vec::new();
        self.unsent = Vec::new();
        self.abandoned = VecDeque::new();
        self.verdict = None;
    }
}

/// `None` if the socket is full.
fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
