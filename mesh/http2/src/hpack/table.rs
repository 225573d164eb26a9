//! The dynamic table, the same for both directions.

use std::{collections::VecDeque, fmt};

use super::{ENTRY_OVERHEAD, TABLE_BYTES};
use crate::Name;

/// Entries in order of age. Their bytes stand one behind the other in `bytes`; when those of evicted
/// entries have made it twice as long as the table may be, the live ones move to the front.
#[derive(Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
    /// How many entries were ever inserted; the newest has this number, the oldest is 1.
    inserted: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    start: u32,
    /// Of a known name no bytes are kept.
    pub name_len: u16,
    value_len: u16,
    pub name: Name,
    /// What the decoder found out about the field.
    pub flags: u8,
}

impl Entry {
    /// What it counts.
    pub fn size(&self) -> usize {
        let name_len = match self.name {
            Name::Other => usize::from(self.name_len),
            known => known.as_str().len(),
        };
        name_len + usize::from(self.value_len) + ENTRY_OVERHEAD
    }
}

/// Without the bytes, which may be secret.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("entries", &self.entries.len())
            .field("size", &self.size)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl Table {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    pub fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of the newest entry.
    pub fn newest(&self) -> u32 {
        self.inserted
    }

    pub fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    /// The entry inserted `age` entries before the newest.
    pub fn get(&self, age: usize) -> Option<&Entry> {
        let at = self.entries.len().checked_sub(age + 1)?;
        self.entries.get(at)
    }

    /// The entry with this number, and its age, if it is still there.
    pub fn numbered(&self, number: u32) -> Option<(&Entry, usize)> {
        let age = self.inserted.wrapping_sub(number) as usize;
        if number == 0 {
            None
        } else {
            self.get(age).map(|entry| (entry, age))
        }
    }

    /// Empty for a known name.
    pub fn name_bytes(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..][..usize::from(entry.name_len)]
    }

    pub fn value(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize + usize::from(entry.name_len);
        &self.bytes[start..][..usize::from(entry.value_len)]
    }

    /// Name, unless it is a known one, and value behind it.
    pub fn field_bytes(&self, entry: &Entry) -> &[u8] {
        let length = usize::from(entry.name_len) + usize::from(entry.value_len);
        &self.bytes[entry.start as usize..][..length]
    }

    /// Inserts a field and says whether it fits; if not, the table is empty now (RFC 7541, section 4.4).
    /// `name_bytes` must be empty for a known name.
    pub fn insert(&mut self, name: Name, name_bytes: &[u8], value: &[u8], flags: u8) -> bool {
        let size = field_size(name, name_bytes, value.len());
        self.evict(size);
        if size > self.max {
            return false;
        }
        let needed = name_bytes.len() + value.len();
        if self.bytes.len() + needed > 2 * TABLE_BYTES {
            self.compact();
        }
        // Both lengths are below `TABLE_BYTES`.
        self.entries.push_back(Entry {
            start: self.bytes.len() as u32,
            name_len: name_bytes.len() as u16,
            value_len: value.len() as u16,
            name,
            flags,
        });
        self.bytes.extend_from_slice(name_bytes);
        self.bytes.extend_from_slice(value);
        self.size += size;
        // A wrapped number would only make an encoder look at a wrong entry, which it compares.
        self.inserted = self.inserted.wrapping_add(1);
        true
    }

    /// What inserting an entry larger than the table does.
    pub fn clear(&mut self) {
        self.evict(self.max + 1);
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.max
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    fn compact(&mut self) {
        let Some(start) = self.entries.front().map(|entry| entry.start) else {
            return self.bytes.clear();
        };
        self.bytes.drain(..start as usize);
        for entry in &mut self.entries {
            entry.start -= start;
        }
    }
}

/// What a field counts in a table and in a header list.
pub(super) fn field_size(name: Name, name_bytes: &[u8], value_len: usize) -> usize {
    let name_len = match name {
        Name::Other => name_bytes.len(),
        known => known.as_str().len(),
    };
    name_len + value_len + ENTRY_OVERHEAD
}
