use std::fmt;

use super::{
    TABLE_BYTES,
    fields::{STATIC, static_field, static_name},
    table::{Entry, Table, field_size},
};
use crate::{HeaderBlock, Name, block::Raw, huffman};

/// Places of [`Index`]; a full table has 128 entries with two keys each.
const PLACES: usize = 512;
/// How many places a key may be at.
const WINDOW: usize = 4;
/// Places of the filter of fields that were seen once.
const SEEN: usize = 256;

/// Encodes the header blocks of one direction of a connection.
///
/// A field enters the dynamic table when it comes for the second time, so that values which are new in
/// each call neither cost an insertion nor evict what repeats. What is not inserted is copied as it is:
/// Huffman code would save a third of the bytes for more time than all the rest takes.
pub struct Encoder {
    pub(super) table: Table,
    index: Index,
    /// Hashes of fields that came once, each at its own place.
    seen: Box<[u32; SEEN]>,
    /// For each known name the number of the entry that matched last: nearly always it does again.
    recent: Box<[u32; Name::Other as usize]>,
    /// The smallest and the last size set since the last block, to be told in the next.
    resized: Option<(usize, usize)>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            index: Index(Box::new([(0, 0); PLACES])),
            seen: Box::new([0; SEEN]),
            recent: Box::new([0; Name::Other as usize]),
            resized: None,
        }
    }
}

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE, of which at most 4,096 bytes are used.
    pub fn set_table_size(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE_BYTES);
        if bytes == self.table.max() && self.resized.is_none() {
            return;
        }
        self.table.resize(bytes);
        let least = self.resized.map_or(bytes, |(least, _)| least.min(bytes));
        self.resized = Some((least, bytes));
    }

    /// Appends the encoded block to `output`.
    pub fn encode(&mut self, block: &HeaderBlock, output: &mut Vec<u8>) {
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                integer(0x20, 5, least, output);
            }
            integer(0x20, 5, last, output);
        }
        for field in block.raw() {
            self.field(&field, output);
        }
    }

    fn field(&mut self, field: &Raw<'_>, output: &mut Vec<u8>) {
        if field.index > 0 {
            return output.push(0x80 | field.index);
        }
        if field.sensitive {
            return self.literal(0x10, field, output);
        }
        if field.name.is_volatile() {
            return self.literal(0, field, output);
        }
        let index = static_field(field.name, field.value);
        if index > 0 {
            return output.push(0x80 | index as u8);
        }
        if let Some(age) = self.recent_age(field) {
            return integer(0x80, 7, STATIC.len() + 1 + age, output);
        }
        let hash = field_hash(field);
        let found = self.index.find(hash, &self.table, |entry| {
            entry.name == field.name
                && self.table.value(entry) == field.value
                && self.table.name_bytes(entry) == field.name_bytes
        });
        if let Some((number, age)) = found {
            if field.name != Name::Other {
                self.recent[field.name as usize] = number;
            }
            return integer(0x80, 7, STATIC.len() + 1 + age, output);
        }
        let seen = &mut self.seen[hash as usize % SEEN];
        let size = field_size(field.name, field.name_bytes, field.value.len());
        // A field of more than half of the table would cost more than it saves.
        if *seen == hash && size <= self.table.max() / 2 {
            self.insert(hash, field, output);
        } else {
            *seen = hash;
            self.literal(0, field, output);
        }
    }

    fn recent_age(&self, field: &Raw<'_>) -> Option<usize> {
        let number = *self.recent.get(field.name as usize)?;
        let (entry, age) = self.table.numbered(number)?;
        (entry.name == field.name && self.table.value(entry) == field.value).then_some(age)
    }

    /// A literal without an insertion: `form` is 0, or 0x10 for one that must never be indexed.
    fn literal(&self, form: u8, field: &Raw<'_>, output: &mut Vec<u8>) {
        let name = static_name(field.name);
        integer(form, 4, name, output);
        if name == 0 {
            string(name_text(field.name, field.name_bytes), output);
        }
        string(field.value, output);
    }

    fn insert(&mut self, hash: u32, field: &Raw<'_>, output: &mut Vec<u8>) {
        let text = name_text(field.name, field.name_bytes);
        let name_hash = hash_bytes(NAME_SEED, text);
        let has_name = |entry: &Entry| name_text(entry.name, self.table.name_bytes(entry)) == text;
        let name = match static_name(field.name) {
            0 => self
                .index
                .find(name_hash, &self.table, has_name)
                .map_or(0, |(_, age)| STATIC.len() + 1 + age),
            index => index,
        };
        integer(0x40, 6, name, output);
        if name == 0 {
            shortest_string(text, output);
        }
        shortest_string(field.value, output);
        if self
            .table
            .insert(field.name, field.name_bytes, field.value, 0)
        {
            let number = self.table.newest();
            self.index.put(hash, number, &self.table);
            if static_name(field.name) == 0 {
                self.index.put(name_hash, number, &self.table);
            }
            if field.name != Name::Other {
                self.recent[field.name as usize] = number;
            }
        }
    }
}

/// Finds entries by hash. A place whose entry was evicted is free, so nothing is ever taken out.
struct Index(Box<[(u32, u32); PLACES]>);

impl Index {
    /// The number and age of the entry with this hash that `is_it` confirms.
    fn find(
        &self,
        hash: u32,
        table: &Table,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Option<(u32, usize)> {
        (0..WINDOW).find_map(|step| {
            let (other, number) = self.0[(hash as usize + step) % PLACES];
            if other != hash {
                return None;
            }
            let (entry, age) = table.numbered(number)?;
            is_it(entry).then_some((number, age))
        })
    }

    /// Takes a free place, or that of the oldest entry.
    fn put(&mut self, hash: u32, number: u32, table: &Table) {
        let age = |place: usize| {
            table
                .numbered(self.0[place].1)
                .map_or(usize::MAX, |(_, age)| age)
        };
        let places = (0..WINDOW).map(|step| (hash as usize + step) % PLACES);
        if let Some(place) = places.max_by_key(|&place| age(place)) {
            self.0[place] = (hash, number);
        }
    }
}

/// The name in full. `bytes` are empty for a known one.
fn name_text(name: Name, bytes: &[u8]) -> &[u8] {
    match name {
        Name::Other => bytes,
        known => known.as_str().as_bytes(),
    }
}

const NAME_SEED: u64 = 0x51_7c_c1_b7_27_22_0a_95;

fn field_hash(field: &Raw<'_>) -> u32 {
    let seed = match field.name {
        Name::Other => u64::from(hash_bytes(0, field.name_bytes)) << 8,
        known => known as u64,
    };
    hash_bytes(seed, field.value)
}

/// Never 0. It need not resist an attacker, who gains nothing but worse compression for himself.
fn hash_bytes(seed: u64, bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(FACTOR);
        mixed ^ mixed >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(seed, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(bytes.len() as u64, |last, &byte| {
        last << 8 | u64::from(byte)
    });
    (mix(mix(hash, last), 0) >> 32) as u32 | 1
}

/// RFC 7541, section 5.1: `form` are the bits before the prefix.
#[inline]
fn integer(form: u8, prefix: u32, value: usize, output: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        output.push(form | value as u8);
    } else {
        output.push(form | mask as u8);
        rest_of_integer(value - mask, output);
    }
}

fn rest_of_integer(mut rest: usize, output: &mut Vec<u8>) {
    while rest >= 0x80 {
        output.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}

fn string(text: &[u8], output: &mut Vec<u8>) {
    integer(0, 7, text.len(), output);
    output.extend_from_slice(text);
}

/// In Huffman code if that is shorter: worth its time for what is sent once.
fn shortest_string(text: &[u8], output: &mut Vec<u8>) {
    let length = huffman::encoded_len(text);
    if length < text.len() {
        integer(0x80, 7, length, output);
        huffman::encode(text, output);
    } else {
        string(text, output);
    }
}
