//! TLS of one connection without I/O: ciphertext in, plaintext out, and back.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig, CommonState, Error, ServerConfig,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};
use weft_identity::server_name;

use super::outgoing::Outgoing;

/// A record holds at most this much plaintext; head, type and tag add a little.
const RECORD_BYTES: usize = 16 * 1024;
const RECORD_OVERHEAD: usize = 64;

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Handshaking,
    /// Data may be sent.
    Open,
    /// The peer said that nothing will follow.
    Closed,
}

/// One TLS connection.
pub(crate) struct Tls {
    side: Side,
    /// Ciphertext of a record that is not whole yet. rustls remembers places in it, so every step is
    /// given it.
    partial: Vec<u8>,
    /// No step must follow an error.
    has_failed: bool,
}

impl Tls {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self {
            side: Side::Server(connection),
            partial: Vec::new(),
            has_failed: false,
        })
    }

    pub(crate) fn client(config: Arc<ClientConfig>, address: IpAddr) -> Result<Self, Error> {
        let connection = UnbufferedClientConnection::new(config, server_name(address))?;
        Ok(Self {
            side: Side::Client(connection),
            partial: Vec::new(),
            has_failed: false,
        })
    }

    /// Peer certificates and protocol, once the handshake is over.
    pub(crate) fn facts(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// Moves what is left of a record to the beginning of `room`, in front of what is read next, and
    /// says how much that is. [`Tls::receive`] must be given both together.
    pub(crate) fn take_partial(&mut self, room: &mut [u8]) -> usize {
        let kept = self.partial.len().min(room.len());
        room[..kept].copy_from_slice(&self.partial[..kept]);
        self.partial.clear();
        kept
    }

    /// What [`Tls::take_partial`] moved was not followed by anything.
    pub(crate) fn keep_partial(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }

    /// Takes ciphertext: handshake answers go to `out`, plaintext to `deliver`. Says where the
    /// connection stands. After an error, `out` holds the alert.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        out: &mut Outgoing,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<Progress, Error> {
        debug_assert!(self.partial.is_empty());
        let (used, progress) = self.side.receive(bytes, out, deliver);
        self.partial.extend_from_slice(&bytes[used..]);
        self.has_failed = progress.is_err();
        progress
    }

    /// Encrypts up to `limit` bytes of `data` into `out` and says how many.
    pub(crate) fn encrypt(&mut self, data: &[u8], out: &mut Outgoing) -> usize {
        if self.has_failed {
            return 0;
        }
        let most = data.len() + (data.len() / RECORD_BYTES + 1) * RECORD_OVERHEAD;
        let room = out.room(most);
        let mut write = |room: &mut [u8]| match &mut self.side {
            Side::Client(connection) => encrypt(
                connection.process_tls_records(&mut self.partial),
                data,
                room,
            ),
            Side::Server(connection) => encrypt(
                connection.process_tls_records(&mut self.partial),
                data,
                room,
            ),
        };
        match write(room) {
            Some(written) => {
                out.filled(written);
                data.len()
            }
            None => 0,
        }
    }

    /// Says that nothing will follow.
    pub(crate) fn close(&mut self, out: &mut Outgoing) {
        if self.has_failed {
            return;
        }
        let room = out.room(RECORD_OVERHEAD * 2);
        let written = match &mut self.side {
            Side::Client(connection) => {
                notify(connection.process_tls_records(&mut self.partial), room)
            }
            Side::Server(connection) => {
                notify(connection.process_tls_records(&mut self.partial), room)
            }
        };
        out.filled(written);
    }
}

impl Side {
    /// Returns how many bytes of `input` are used up, and where the connection stands.
    fn receive(
        &mut self,
        input: &mut [u8],
        out: &mut Outgoing,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<Progress, Error>) {
        match self {
            Self::Client(connection) => receive(input, out, deliver, |input, step| {
                step.take(connection.process_tls_records(input))
            }),
            Self::Server(connection) => receive(input, out, deliver, |input, step| {
                step.take(connection.process_tls_records(input))
            }),
        }
    }
}

/// What one state of the connection asks for.
enum Step {
    /// Call again.
    Again,
    Done(Result<Progress, Error>),
}

struct Stepper<'a> {
    out: &'a mut Outgoing,
    deliver: &'a mut dyn FnMut(&[u8]),
}

impl Stepper<'_> {
    fn take<Data>(&mut self, status: UnbufferedStatus<'_, '_, Data>) -> (usize, Step) {
        let UnbufferedStatus { mut discard, state } = status;
        let step = match state {
            Err(error) => Step::Done(Err(error)),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut failure = None;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            (self.deliver)(record.payload);
                        }
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                }
                failure.map_or(Step::Again, |error| Step::Done(Err(error)))
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let mut room = RECORD_BYTES;
                loop {
                    match data.encode(self.out.room(room)) {
                        Ok(written) => self.out.filled(written),
                        Err(EncodeError::InsufficientSize(needed)) => {
                            room = needed.required_size;
                            continue;
                        }
                        Err(EncodeError::AlreadyEncoded) => {}
                    }
                    break Step::Again;
                }
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // What was encoded waits in `out`, in order; the loop writes it.
                transmit.done();
                Step::Again
            }
            Ok(ConnectionState::BlockedHandshake) => Step::Done(Ok(Progress::Handshaking)),
            Ok(ConnectionState::WriteTraffic(_)) => Step::Done(Ok(Progress::Open)),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                Step::Done(Ok(Progress::Closed))
            }
            // Early data is never accepted, and a state unknown here cannot be acted on.
            Ok(_) => Step::Done(Err(Error::General("unexpected state".to_owned()))),
        };
        (discard, step)
    }
}

fn receive(
    input: &mut [u8],
    out: &mut Outgoing,
    deliver: &mut dyn FnMut(&[u8]),
    mut process: impl FnMut(&mut [u8], &mut Stepper<'_>) -> (usize, Step),
) -> (usize, Result<Progress, Error>) {
    let mut stepper = Stepper { out, deliver };
    let mut used = 0;
    loop {
        let (discard, step) = process(&mut input[used..], &mut stepper);
        used += discard;
        match step {
            Step::Again => {}
            Step::Done(Err(error)) => {
                // The alert that says why, if there is one, is the next thing to encode. Another step
                // would meet the same error, and alert once more.
                let _ = process(&mut input[used..], &mut stepper);
                return (used, Err(error));
            }
            Step::Done(Ok(progress)) => return (used, Ok(progress)),
        }
    }
}

/// `None` if the connection cannot send now. An insufficient size cannot be: room for any split was made.
fn encrypt<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    data: &[u8],
    room: &mut [u8],
) -> Option<usize> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(data, room).ok(),
        _ => None,
    }
}

fn notify<Data>(status: UnbufferedStatus<'_, '_, Data>, room: &mut [u8]) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let queued: Result<usize, EncryptError> = traffic.queue_close_notify(room);
            queued.unwrap_or(0)
        }
        _ => 0,
    }
}
