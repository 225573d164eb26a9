//! Copies bytes between a connection of the caller and one to the server, and knows nothing of what they
//! mean: what two sockets cost at least, in an event loop like the sidecar's. The floor of one hop.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Registry, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};

/// Where the copier stands.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A loopback address.
    #[arg(long)]
    listen: SocketAddr,
    /// Where bytes go.
    #[arg(long)]
    upstream: SocketAddr,
}

const LISTENER: Token = Token(0);
const BUFFER_BYTES: usize = 128 * 1024;

/// Two connections. What the other side has not taken yet is kept, and nothing more is read until it is.
struct Pair {
    sockets: [TcpStream; 2],
    /// For each socket what waits to be written to it.
    waiting: [Vec<u8>; 2],
}

/// Serves until the process is ended.
///
/// # Errors
///
/// If it cannot listen.
pub fn serve(args: &Args) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(args.listen)?;
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    pairs.push(Some(Pair::new(
                        socket,
                        args.upstream,
                        pairs.len(),
                        poll.registry(),
                    )?));
                }
                continue;
            }
            let number = event.token().0 - 1;
            let (place, side) = (&mut pairs[number / 2], number % 2);
            if let Some(pair) = place
                && pair.ready(event, side, &mut buffer).is_err()
            {
                *place = None;
            }
        }
    }
}

impl Pair {
    fn new(
        downstream: TcpStream,
        upstream: SocketAddr,
        place: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut sockets = [downstream, TcpStream::connect(upstream)?];
        for (side, socket) in sockets.iter_mut().enumerate() {
            let _ = socket.set_nodelay(true);
            let token = Token(1 + 2 * place + side);
            registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(Self {
            sockets,
            waiting: Default::default(),
        })
    }

    /// # Errors
    ///
    /// When either side has ended.
    fn ready(&mut self, event: &Event, side: usize, buffer: &mut [u8]) -> io::Result<()> {
        if event.is_writable() && !self.waiting[side].is_empty() {
            let waiting = std::mem::take(&mut self.waiting[side]);
            self.write(side, &waiting)?;
            self.copy(1 - side, buffer)?;
        }
        if event.is_readable() {
            self.copy(side, buffer)?;
        }
        Ok(())
    }

    /// Reads a side dry, as far as the other takes it.
    fn copy(&mut self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        while self.waiting[1 - from].is_empty() {
            let read = match self.sockets[from].read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.write(1 - from, &buffer[..read])?;
            if read < buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&mut self, to: usize, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sockets[to].write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    self.waiting[to].extend_from_slice(bytes);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
