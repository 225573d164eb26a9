//! The streams of a connection.

use std::{cell::Cell, collections::VecDeque, time::Instant};

/// How many streams that are over are remembered, so that frames still under way for them are told
/// from wrong ones. Two of the default limit of concurrent streams, and some.
const REMEMBERED: usize = 256;

/// One stream. Windows are signed: a smaller initial window in SETTINGS can make them negative.
#[derive(Clone, Debug)]
pub(super) struct Stream<T> {
    pub id: u32,
    pub token: Option<T>,
    /// What we may send.
    pub send_window: i64,
    /// What the peer may send.
    pub receive_window: i64,
    /// What the peer should be able to have under way.
    pub target_window: i64,
    /// What was given to the user and is not consumed.
    pub unconsumed: i64,
    /// What is missing to the content-length.
    pub content_left: Option<u64>,
    pub local_open: bool,
    pub remote_open: bool,
    /// Our first header block was sent, on a server that of the answer (1xx does not count).
    pub headers_sent: bool,
    /// The peer's first header block (1xx does not count) arrived.
    pub headers_received: bool,
    /// A request of ours with HEAD: content-length does not count.
    pub head_request: bool,
    /// When its first header block came, on a server.
    pub since: Instant,
    pub reset: Option<Side>,
    /// Our reset is not sent yet.
    pub held: bool,
    /// The user is done with it.
    pub is_released: bool,
    /// Its reset counts until the user lets go of it.
    pub is_charged: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Us,
    Peer,
}

/// How a stream that is not there any more has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Past {
    /// By END_STREAM of both sides.
    Ended,
    Reset(Side),
    /// By us, because too many were open.
    Refused,
}

/// Streams in a slab, found by id through a hash table. All of it is reused.
#[derive(Debug)]
pub(super) struct Streams<T> {
    slab: Vec<Stream<T>>,
    free: Vec<u32>,
    places: Places,
    /// The id and the slot that were asked for last: what is done for a frame asks for its stream often.
    last: Cell<(u32, u32)>,
    /// Those that ended well are many and matter little, so they do not displace the others.
    ended: VecDeque<u32>,
    reset: VecDeque<(u32, Past)>,
}

impl<T> Streams<T> {
    pub fn new() -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            places: Places::default(),
            last: Cell::default(),
            ended: VecDeque::new(),
            reset: VecDeque::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.places.len
    }

    pub fn get(&self, id: u32) -> Option<&Stream<T>> {
        self.slot(id).map(|slot| &self.slab[slot as usize])
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream<T>> {
        self.slot(id).map(|slot| &mut self.slab[slot as usize])
    }

    #[inline]
    fn slot(&self, id: u32) -> Option<u32> {
        match self.last.get() {
            (last, slot) if last == id && id > 0 => Some(slot),
            _ => {
                let slot = self.places.get(id)?;
                self.last.set((id, slot));
                Some(slot)
            }
        }
    }

    pub fn insert(&mut self, stream: Stream<T>) {
        let id = stream.id;
        let slot = if let Some(slot) = self.free.pop() {
            self.slab[slot as usize] = stream;
            slot
        } else {
            self.slab.push(stream);
            self.slab.len() as u32 - 1
        };
        self.places.insert(id, slot);
        self.last.set((id, slot));
    }

    /// Forgets a stream but for how it ended.
    pub fn remove(&mut self, id: u32, past: Past) {
        if let Some(slot) = self.places.remove(id) {
            self.last.set((0, 0));
            self.free.push(slot);
            self.remember(id, past);
        }
    }

    /// Notes how a stream ended that was never inserted, too.
    pub fn remember(&mut self, id: u32, past: Past) {
        fn push<E>(queue: &mut VecDeque<E>, entry: E) {
            if queue.len() == REMEMBERED {
                queue.pop_front();
            }
            queue.push_back(entry);
        }
        match past {
            Past::Ended => push(&mut self.ended, id),
            Past::Reset(_) | Past::Refused => push(&mut self.reset, (id, past)),
        }
    }

    /// How a stream ended that is not there, if that was not too long ago.
    pub fn past(&self, id: u32) -> Option<Past> {
        let reset = self.reset.iter().rev().find(|(other, _)| *other == id);
        match reset {
            Some((_, past)) => Some(*past),
            None => self.ended.contains(&id).then_some(Past::Ended),
        }
    }

    /// All streams, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Stream<T>> {
        let is_there =
            |(slot, stream): &(usize, &Stream<T>)| self.places.get(stream.id) == Some(*slot as u32);
        self.slab
            .iter()
            .enumerate()
            .filter(is_there)
            .map(|(_, stream)| stream)
    }

    /// As [`Self::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream<T>> {
        let slab = &mut self.slab;
        let places = &self.places;
        slab.iter_mut()
            .enumerate()
            .filter(|(slot, stream)| places.get(stream.id) == Some(*slot as u32))
            .map(|(_, stream)| stream)
    }
}

/// A hash table from ids to slots with linear probing. Multiplying by the golden ratio spreads ids that
/// rise evenly; a peer who chooses them to collide makes his own few streams slow.
#[derive(Debug, Default)]
struct Places {
    /// Id 0 is an empty place. A power of two, at least twice the streams.
    places: Vec<(u32, u32)>,
    len: usize,
}

impl Places {
    fn home(&self, id: u32) -> usize {
        let spread = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        spread as usize & (self.places.len() - 1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// The place of an id, or the empty one where it would be. There must be places.
    fn find(&self, id: u32) -> usize {
        let mut place = self.home(id);
        while self.places[place].0 != id && self.places[place].0 != 0 {
            place = self.next(place);
        }
        place
    }

    fn get(&self, id: u32) -> Option<u32> {
        if self.len == 0 || id == 0 {
            return None;
        }
        let (found, slot) = self.places[self.find(id)];
        (found == id).then_some(slot)
    }

    fn insert(&mut self, id: u32, slot: u32) {
        if (self.len + 1) * 2 > self.places.len() {
            let size = (self.places.len() * 2).max(16);
            let old = std::mem::replace(&mut self.places, vec![(0, 0); size]);
            for (id, slot) in old.into_iter().filter(|(id, _)| *id != 0) {
                let place = self.find(id);
                self.places[place] = (id, slot);
            }
        }
        let place = self.find(id);
        self.places[place] = (id, slot);
        self.len += 1;
    }

    /// Takes an id out and closes the gap, so that no search ends early.
    fn remove(&mut self, id: u32) -> Option<u32> {
        let slot = self.get(id)?;
        let mut gap = self.find(id);
        let mut place = self.next(gap);
        while self.places[place].0 != 0 {
            let home = self.home(self.places[place].0);
            let mask = self.places.len() - 1;
            // An entry may move into the gap if that is not before its home.
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(gap) & mask {
                self.places[gap] = self.places[place];
                gap = place;
            }
            place = self.next(place);
        }
        self.places[gap] = (0, 0);
        self.len -= 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_behave_like_a_map(steps in prop::collection::vec((any::<bool>(), 1u32..80), 0..300)) {
            let (mut places, mut map) = (Places::default(), HashMap::new());
            for (at, (insert, id)) in steps.into_iter().enumerate() {
                let slot = at as u32;
                // Ids that fall on few homes.
                let id = id * 16 + id % 3;
                if insert && !map.contains_key(&id) {
                    map.insert(id, slot);
                    places.insert(id, slot);
                } else if !insert {
                    prop_assert_eq!(places.remove(id), map.remove(&id));
                }
                prop_assert_eq!(places.len, map.len());
                for id in 0..80u32 {
                    let id = id * 16 + id % 3;
                    prop_assert_eq!(places.get(id), map.get(&id).copied());
                }
            }
        }
    }
}
