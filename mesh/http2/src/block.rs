//! A list of header fields in one buffer.

mod edit;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

use crate::{Name, Names};

/// The peer, or the user, wants the field kept out of compression tables (RFC 7541, section 6.2.3).
pub(crate) const SENSITIVE: u8 = 1;
/// Name or value has bytes that RFC 9113, section 8.2.1, forbids.
pub(crate) const INVALID: u8 = 2;
/// A pseudo-header field came for the second time.
const PSEUDO_TWICE: u8 = 4;
/// A pseudo-header field came after others.
const PSEUDO_LATE: u8 = 8;

/// Header fields in the order in which they are sent, pseudo-header fields first: one buffer for all
/// bytes and one record per field. Clearing keeps both, so a block in use allocates nothing.
#[derive(Clone, Default)]
pub struct HeaderBlock {
    /// Of the fields, and at the end what the decoder has not made a field of yet.
    pub(crate) bytes: Vec<u8>,
    fields: Vec<Record>,
    /// The names that are present: most questions are about absent fields.
    present: Names,
    places: Places,
    pseudo: usize,
    /// Of all fields that came from the wire.
    received_flags: u8,
}

/// Where the first field of each known name is, plus one, and of [`Name::Other`]; 0 if there is none. Beyond
/// what a byte can say it is where the search for it begins.
#[derive(Clone, Copy)]
struct Places([u8; Name::Other as usize + 1]);

impl Default for Places {
    fn default() -> Self {
        Self([0; Name::Other as usize + 1])
    }
}

/// The name's bytes, if it is not a known one, stand before the value's.
#[derive(Clone, Copy)]
struct Record {
    start: u32,
    name_len: u32,
    value_len: u32,
    name: Name,
    flags: u8,
    /// The field's index in the static table, if it came as that: 0 is unknown.
    index: u8,
}

impl Record {
    fn name_range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.name_len as usize
    }

    fn value_range(&self) -> Range<usize> {
        let start = self.start as usize + self.name_len as usize;
        start..start + self.value_len as usize
    }
}

/// One field of a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// The name as a number.
    pub name: Name,
    /// The name in bytes, lower case.
    pub name_bytes: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Never put into a compression table.
    pub sensitive: bool,
}

/// One field of a block as it is kept: cheaper to make than a [`Field`].
pub(crate) struct Raw<'a> {
    pub name: Name,
    /// Empty for a known name.
    pub name_bytes: &'a [u8],
    pub value: &'a [u8],
    pub sensitive: bool,
    /// In the static table, or 0.
    pub index: u8,
}

impl HeaderBlock {
    /// An empty block. It allocates when the first field comes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all fields out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.present = Names::default();
        self.places = Places::default();
        self.pseudo = 0;
        self.received_flags = 0;
    }

    /// Becomes equal to `other` without allocating anew, which `clone` would.
    pub fn copy_from(&mut self, other: &Self) {
        self.bytes.clone_from(&other.bytes);
        self.fields.clone_from(&other.fields);
        self.present = other.present;
        self.places = other.places;
        self.received_flags = other.received_flags;
        self.pseudo = other.pseudo;
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The size by which SETTINGS_MAX_HEADER_LIST_SIZE counts: names, values and 32 for each field.
    pub fn list_size(&self) -> usize {
        let size = |field: Field<'_>| field.name_bytes.len() + field.value.len() + 32;
        self.iter().map(size).sum()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> + DoubleEndedIterator + Clone {
        self.fields.iter().map(|record| self.field(record))
    }

    /// Whether a field of this name is there. Cheap.
    #[inline]
    pub fn contains(&self, name: Name) -> bool {
        self.places.0[name as usize] > 0
    }

    /// Whether a field of any of these names is there. As cheap.
    #[inline]
    pub fn contains_any(&self, names: Names) -> bool {
        self.present.overlaps(names)
    }

    /// The first value of a known name.
    #[inline]
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        let record = self.fields.get(self.place(name)?)?;
        Some(&self.bytes[record.value_range()])
    }

    /// Where the first field of this name is.
    #[inline]
    fn place(&self, name: Name) -> Option<usize> {
        let from = usize::from(self.places.0[name as usize]).checked_sub(1)?;
        if from + 1 < usize::from(u8::MAX) {
            return Some(from);
        }
        let mut rest = self.fields.iter().skip(from);
        rest.position(|record| record.name == name)
            .map(|at| from + at)
    }

    /// Notes a field that is added at this place, behind all others.
    #[inline]
    fn note(&mut self, name: Name, place: usize) {
        self.present.insert(name);
        let first = &mut self.places.0[name as usize];
        if *first == 0 {
            *first = (place + 1).min(usize::from(u8::MAX)) as u8;
        }
    }

    /// The first value of any name, which must be lower case.
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.values_by_name(name).next()
    }

    /// All values of a known name, in order.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let fields = if self.contains(name) {
            &self.fields[..]
        } else {
            &[]
        };
        fields
            .iter()
            .filter(move |record| record.name == name)
            .map(|record| &self.bytes[record.value_range()])
    }

    /// All values of any name, which must be lower case, in order.
    pub fn values_by_name(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let known = Name::from_bytes(name);
        self.fields
            .iter()
            .filter(move |record| {
                record.name == known
                    && (known != Name::Other || &self.bytes[record.name_range()] == name)
            })
            .map(|record| &self.bytes[record.value_range()])
    }

    fn field(&self, record: &Record) -> Field<'_> {
        field(&self.bytes, record)
    }

    /// All fields, in order, as they are kept.
    pub(crate) fn raw(&self) -> impl Iterator<Item = Raw<'_>> {
        self.fields.iter().map(|record| {
            let length = record.name_len as usize + record.value_len as usize;
            let bytes = &self.bytes[record.start as usize..][..length];
            let (name_bytes, value) = bytes.split_at(record.name_len as usize);
            Raw {
                name: record.name,
                name_bytes,
                value,
                sensitive: record.flags & SENSITIVE != 0,
                index: record.index,
            }
        })
    }

    /// Adds a field from the wire: at the end, even if a pseudo-header field does not belong there.
    /// `bytes` are the name's, unless it is a known one, and the value's behind them.
    #[inline]
    pub(crate) fn receive(&mut self, name: Name, name_len: usize, bytes: &[u8], flags: u8) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.keep(name, start, name_len, bytes.len() - name_len, flags);
    }

    /// Makes a field from the wire of the last bytes.
    pub(crate) fn keep(
        &mut self,
        name: Name,
        start: usize,
        name_len: usize,
        value_len: usize,
        flags: u8,
    ) {
        if name.is_pseudo() {
            if self.contains(name) {
                self.received_flags |= PSEUDO_TWICE;
            }
            if self.pseudo < self.fields.len() {
                self.received_flags |= PSEUDO_LATE;
            }
            self.pseudo += 1;
        }
        self.note(name, self.fields.len());
        self.received_flags |= flags;
        self.fields.push(Record {
            start: start as u32,
            name_len: name_len as u32,
            value_len: value_len as u32,
            name,
            flags,
            index: 0,
        });
    }

    /// Adds a field from the static table.
    #[inline]
    pub(crate) fn receive_static(&mut self, index: u8, name: Name, value: &str) {
        self.receive(name, 0, value.as_bytes(), 0);
        if let Some(record) = self.fields.last_mut() {
            record.index = index;
        }
    }

    /// Whether a field from the wire has bytes that are forbidden, in name or value.
    pub(crate) fn has_invalid_bytes(&self) -> bool {
        self.received_flags & INVALID != 0
    }

    /// What is wrong with the place of a pseudo-header field from the wire.
    pub(crate) fn misplaced_pseudo(&self) -> Option<&'static str> {
        if self.received_flags & (PSEUDO_LATE | PSEUDO_TWICE) == 0 {
            None
        } else if self.received_flags & PSEUDO_LATE != 0 {
            Some("pseudo-header field after others")
        } else {
            Some("pseudo-header field twice")
        }
    }
}

fn field<'a>(bytes: &'a [u8], record: &Record) -> Field<'a> {
    let name_bytes = match record.name {
        Name::Other => &bytes[record.name_range()],
        known => known.as_str().as_bytes(),
    };
    Field {
        name: record.name,
        name_bytes,
        value: &bytes[record.value_range()],
        sensitive: record.flags & SENSITIVE != 0,
    }
}

impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map()
            .entries(self.iter().map(|field| {
                let value = if field.sensitive {
                    "(sensitive)".into()
                } else {
                    text(field.value)
                };
                (text(field.name_bytes), value)
            }))
            .finish()
    }
}
