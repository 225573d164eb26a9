//! All connections, and the one whose events are being handled.

use weft_http2::{Connection, StreamId};

use super::{
    arena::{Arena, Key},
    kind::Token,
    link::Link,
    window,
};

/// The link whose events are being handled: its HTTP/2 state is out of the arena meanwhile.
pub(crate) struct Current<'a> {
    pub(crate) link: Key<Link>,
    pub(crate) h2: Option<&'a mut Connection<Token>>,
}

impl Current<'_> {
    /// No link's events are being handled.
    pub(crate) fn none() -> Self {
        Current {
            link: Key::NONE,
            h2: None,
        }
    }

    /// The link's own stream is not needed any more.
    pub(crate) fn release(&mut self, stream: StreamId) {
        if let Some(h2) = &mut self.h2 {
            h2.release(stream);
        }
    }

    /// Payload that nobody waits for: its window is given back.
    pub(crate) fn ignore(&mut self, stream: StreamId, bytes: usize) {
        if let Some(h2) = &mut self.h2 {
            h2.consumed(stream, bytes);
        }
    }
}

/// All connections.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) arena: Arena<Link>,
    /// Those with something to write.
    dirty: Vec<Key<Link>>,
    /// Those that write in the next turn, which is at once.
    waiting: Vec<Key<Link>>,
}

impl Links {
    /// The HTTP/2 state of a link. What is queued there is written at the end of the turn.
    pub(crate) fn h2<'a>(
        &'a mut self,
        current: &'a mut Current<'_>,
        key: Key<Link>,
    ) -> Option<&'a mut Connection<Token>> {
        if current.link == key {
            return current.h2.as_deref_mut();
        }
        self.mark(key);
        self.arena.get_mut(key)?.h2.as_deref_mut()
    }

    /// Takes a wide window for a stream of a caller's call, if it has none yet and the caller's share is
    /// not used up; gives the link of whichever stream's window is to be widened, which is `current`.
    pub(crate) fn widen<'a>(
        &'a mut self,
        current: &'a mut Current<'_>,
        down: Key<Link>,
        is_wide: &mut bool,
    ) -> Option<&'a mut Connection<Token>> {
        if *is_wide {
            return None;
        }
        let link = self.arena.get_mut(down)?;
        if link.wide >= window::WIDE_STREAMS {
            return None;
        }
        link.wide += 1;
        *is_wide = true;
        current.h2.as_deref_mut()
    }

    /// Gives wide windows back.
    pub(crate) fn narrow(&mut self, down: Key<Link>, streams: u32) {
        if let Some(link) = self.arena.get_mut(down) {
            link.wide -= streams.min(link.wide);
        }
    }

    /// A stream of this link has more to send than it may now.
    pub(crate) fn block(&mut self, key: Key<Link>, token: Token) {
        if let Some(link) = self.arena.get_mut(key)
            && !link.blocked.contains(&token)
        {
            link.blocked.push(token);
        }
    }

    /// Writes to this link at the end of the turn.
    pub(crate) fn mark(&mut self, key: Key<Link>) {
        if let Some(link) = self.arena.get_mut(key)
            && !std::mem::replace(&mut link.is_dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Lets a link write in the next turn.
    pub(crate) fn wait(&mut self, key: Key<Link>) {
        if let Some(link) = self.arena.get_mut(key) {
            link.waited = link.waited.saturating_add(1);
            self.waiting.push(key);
        }
    }

    /// Whether links wait for the next turn.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The turn is there that links waited for. If it has nothing to do they wait for no other.
    pub(crate) fn end_waiting(&mut self, is_idle: bool) {
        while let Some(key) = self.waiting.pop() {
            if let Some(link) = self.arena.get_mut(key).filter(|_| is_idle) {
                link.waited = u8::MAX;
            }
            self.mark(key);
        }
    }

    /// Takes the next link that has something to write.
    pub(crate) fn next_dirty(&mut self) -> Option<Key<Link>> {
        loop {
            let key = self.dirty.pop()?;
            if let Some(link) = self.arena.get_mut(key) {
                link.is_dirty = false;
                return Some(key);
            }
        }
    }
}
