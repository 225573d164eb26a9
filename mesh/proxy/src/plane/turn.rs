//! The event loop: one thread, which owns all connections.
//!
//! A turn waits for readiness, reads each readable connection dry, lets the core act on what came,
//! and then writes each connection once. Nothing else happens: no task, channel or lock per call.

use std::{
    io,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use mio::{Events as Ready, Poll, Token as Readiness};

use super::{
    accept::Listener,
    arena::Key,
    command::Command,
    core::{Core, Timer},
    ended::Ended,
    kind::{Phase, Side},
    link::Link,
    links::Current,
    pace::{PAUSE, Pace},
};

/// Tokens above these are links.
const WAKER: usize = 0;
const LISTENERS: [(usize, Side); 2] = [(1, Side::Inbound), (2, Side::Outbound)];
const FIRST_LINK: usize = 3;

/// One read: also the most that one connection gets done before the others have their turn.
const READ_BYTES: usize = 128 * 1024;
/// Reads of one connection in a turn, while each fills the buffer.
const READS: usize = 4;
/// Handshakes that go on in one turn, each for some tenths of a millisecond: many callers that come at once
/// must not hold up the calls of those who are there.
const HANDSHAKES: usize = 16;
/// How often connections are looked at for what time does to them.
const TICK: Duration = Duration::from_millis(250);

pub(crate) fn token(key: Key<Link>) -> Readiness {
    Readiness(key.index() + FIRST_LINK)
}

pub(crate) const fn waker_token() -> Readiness {
    Readiness(WAKER)
}

/// The thread's own things.
pub(crate) struct Turns {
    pub(crate) poll: Poll,
    pub(crate) core: Core,
    pub(crate) commands: Receiver<Command>,
    /// Inbound, outbound. `None` once the drain has begun.
    pub(crate) listeners: [Option<Listener>; 2],
    buffer: Vec<u8>,
    /// Connections with more to read than one turn allows.
    unread: Vec<Key<Link>>,
    /// How many handshakes have gone on in this turn.
    handshakes: usize,
    next_tick: Instant,
    due: Vec<Timer>,
    pace: Pace,
    is_over: bool,
}

impl Turns {
    pub(crate) fn new(poll: Poll, core: Core, commands: Receiver<Command>) -> Self {
        Self {
            poll,
            next_tick: core.now + TICK,
            core,
            commands,
            listeners: [None, None],
            buffer: vec![0; READ_BYTES],
            unread: Vec::new(),
            handshakes: 0,
            due: Vec::new(),
            pace: Pace::default(),
            is_over: false,
        }
    }

    /// Turns until a command ends it.
    ///
    /// # Errors
    /// If the system cannot wait for readiness.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Ready::with_capacity(1024);
        while !self.is_over {
            if self.pace.next_pauses(self.core.exchanges.len()) {
                std::thread::sleep(PAUSE);
            }
            let timeout = self.timeout();
            let since = Instant::now();
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            self.core.now = Instant::now();
            self.pace.waited = self.core.now.saturating_duration_since(since);
            self.handshakes = 0;
            for key in std::mem::take(&mut self.unread) {
                self.read(key);
            }
            for event in &ready {
                self.ready(event);
            }
            self.pass_time();
            self.write(ready.is_empty());
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() || self.core.links.has_waiting() {
            return Some(Duration::ZERO);
        }
        let has_links = self.core.links.arena.len() > 0;
        let wants_ticks = has_links || self.core.engine.next_probe_at(self.core.now).is_some();
        let tick = wants_ticks.then_some(self.next_tick);
        let next = [tick, self.core.wheel.next()].into_iter().flatten().min()?;
        // A timer that is due within the millisecond would else be polled for without waiting.
        let wait = next.saturating_duration_since(Instant::now());
        Some(Duration::from_millis(
            wait.as_nanos().div_ceil(1_000_000) as u64
        ))
    }

    fn ready(&mut self, event: &mio::event::Event) {
        let token = event.token().0;
        if token == WAKER {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            return;
        }
        if let Some(&(at, side)) = LISTENERS.iter().find(|(number, _)| *number == token) {
            return self.accept(at - 1, side);
        }
        let Some(key) = self.core.links.arena.at(token - FIRST_LINK) else {
            return;
        };
        if event.is_writable() {
            self.writable(key);
        }
        if event.is_read_closed()
            && let Some(link) = self.core.links.arena.get_mut(key)
        {
            // The end came with what is read first: nothing is told anew for it.
            link.has_hung_up = true;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(key);
        }
    }

    fn writable(&mut self, key: Key<Link>) {
        let Some(link) = self.core.links.arena.get_mut(key) else {
            return;
        };
        link.is_writable();
        self.core.links.mark(key);
        self.core.connected(key);
    }

    /// Reads a connection dry, or as much as a turn allows.
    fn read(&mut self, key: Key<Link>) {
        let found = self.core.links.arena.get(key);
        if found.is_some_and(Link::is_handshaking) {
            if self.handshakes >= HANDSHAKES {
                return self.unread.push(key);
            }
            self.handshakes += 1;
        }
        for _ in 0..READS {
            let Some(link) = self.core.links.arena.get_mut(key) else {
                return;
            };
            if link.is_half_made() {
                return;
            }
            let is_closing = link.phase == Phase::Closing;
            let (bytes, has_more) = match link.read(&mut self.buffer) {
                Ok(Some(read)) => read,
                Ok(None) => return,
                Err(ended) => return self.core.doomed.push((key, ended)),
            };
            self.core.read_at = Instant::now();
            self.pace.read += bytes;
            // What comes after the last word is read, so that the peer can read it.
            if !is_closing && let Err(ended) = self.core.feed(key, &mut self.buffer[..bytes]) {
                return self.core.doomed.push((key, ended));
            }
            if !has_more {
                // Readiness is told anew when more comes: epoll(7) on short reads of streams.
                return;
            }
        }
        self.unread.push(key);
    }

    fn pass_time(&mut self) {
        if self.core.now >= self.next_tick {
            self.next_tick = self.core.now + TICK;
            self.core.tick();
        }
        let mut due = std::mem::take(&mut self.due);
        self.core.wheel.expire(self.core.now, &mut due);
        for timer in due.drain(..) {
            self.core.timer(timer);
        }
        self.due = due;
    }

    /// Writes each connection that has something, and buries those that ended.
    fn write(&mut self, is_idle: bool) {
        self.core.links.end_waiting(is_idle);
        loop {
            while let Some(key) = self.core.links.next_dirty() {
                self.core.flush(key);
            }
            let Some((key, ended)) = self.core.doomed.pop() else {
                return;
            };
            self.core.bury(key, ended);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Identify(identity) => self.core.identify(identity),
            Command::Configure(snapshot) => self.core.configure(snapshot),
            Command::Listen(side, listener) => self.listen(side, listener),
            Command::Drain(side, done) => {
                self.listeners[side as usize] = None;
                self.core.drain(side, done);
            }
            Command::Cut(side) => self.core.cut(side),
            Command::Ask(ask) => ask(&mut self.core),
            Command::Stop => self.is_over = true,
        }
    }

    fn listen(&mut self, side: Side, listener: std::net::TcpListener) {
        let (number, _) = LISTENERS[side as usize];
        match Listener::register(listener, &self.core.registry, Readiness(number)) {
            Ok(listener) => {
                self.listeners[side as usize] = Some(listener);
                self.accept(side as usize, side);
            }
            Err(error) => tracing::error!(%error, side = side.as_str(), "cannot listen"),
        }
    }

    fn accept(&mut self, at: usize, side: Side) {
        if let Some(listener) = &mut self.listeners[at] {
            for (key, ended) in listener.accept(side, &mut self.core) {
                self.core.doomed.push((key, ended));
            }
        }
    }
}

impl Core {
    /// Writes what a link has queued.
    fn flush(&mut self, key: Key<Link>) {
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        if link.may_wait() {
            return self.links.wait(key);
        }
        match link.flush(self.now) {
            Err(error) => self.doomed.push((key, Ended::Io(error))),
            Ok(has_room) => {
                if link.phase == Phase::Closing && !link.has_output() {
                    link.shut_down();
                } else if has_room {
                    self.unblock(&mut Current::none(), key);
                }
            }
        }
    }
}
