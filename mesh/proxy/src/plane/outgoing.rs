//! Bytes that wait for a socket.

/// Bytes to be written, with room that is not cleared again for each use.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Outgoing {
    pub(crate) fn pending(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn written(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for `n` more bytes.
    pub(crate) fn room(&mut self, n: usize) -> &mut [u8] {
        if self.room.len() - self.end < n {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.room.len() - self.end < n {
                self.room.resize(self.end + n, 0);
            }
        }
        &mut self.room[self.end..]
    }

    /// Gives memory back that was needed once.
    pub(crate) fn shrink(&mut self, kept: usize) {
        if self.is_empty() && self.room.len() > kept {
            self.room = Vec::new();
        }
    }

    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
    }
}
