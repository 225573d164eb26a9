//! Building and changing a block.

use super::{Field, HeaderBlock, INVALID, Places, Record, SENSITIVE, field};
use crate::{Name, Names};

impl HeaderBlock {
    /// Adds a field: at the end, or for a pseudo-header field after the others of its kind. `Other`
    /// has no bytes and is left out.
    pub fn push(&mut self, name: Name, value: &[u8]) {
        if name != Name::Other {
            let flags = if name.is_secret() { SENSITIVE } else { 0 };
            self.append(name, &[], value, flags);
        }
    }

    /// Adds a field of any name, which must be lower case. The caller answers for name and value being
    /// valid, here and in all that follow.
    pub fn push_by_name(&mut self, name: &[u8], value: &[u8]) {
        match Name::from_bytes(name) {
            Name::Other => self.append(Name::Other, name, value, 0),
            known => self.push(known, value),
        }
    }

    /// Adds a field that must stay out of compression tables, here and at every later hop.
    pub fn push_sensitive(&mut self, name: &[u8], value: &[u8]) {
        match Name::from_bytes(name) {
            Name::Other => self.append(Name::Other, name, value, SENSITIVE),
            known => self.append(known, &[], value, SENSITIVE),
        }
    }

    /// Makes this the only value of the name, where the first one stood.
    pub fn set(&mut self, name: Name, value: &[u8]) {
        if name == Name::Other || !self.contains(name) {
            return self.push(name, value);
        }
        let Some(first) = self.place(name) else {
            return;
        };
        self.replace_value(first, value);
        let mut rest = self.fields[first + 1..].iter();
        if !rest.any(|record| record.name == name) {
            return;
        }
        let mut at = 0;
        self.retain_records(|record| {
            at += 1;
            at - 1 <= first || record.name != name
        });
    }

    /// Makes this the only value of any name, which must be lower case.
    pub fn set_by_name(&mut self, name: &[u8], value: &[u8]) {
        match Name::from_bytes(name) {
            Name::Other => {
                self.remove_by_name(name);
                self.append(Name::Other, name, value, 0);
            }
            known => self.set(known, value),
        }
    }

    /// Takes all fields of a known name out and says whether there were any.
    #[inline]
    pub fn remove(&mut self, name: Name) -> bool {
        self.contains(name) && name != Name::Other && {
            self.retain_records(|record| record.name != name);
            true
        }
    }

    /// Takes all fields of these names out.
    #[inline]
    pub fn remove_all(&mut self, names: Names) {
        if self.contains_any(names) {
            self.retain_records(|record| !names.contains(record.name));
        }
    }

    /// Takes all fields of any name out, which must be lower case, and says whether there were any.
    pub fn remove_by_name(&mut self, name: &[u8]) -> bool {
        let known = Name::from_bytes(name);
        if known != Name::Other {
            return self.remove(known);
        }
        let before = self.len();
        self.retain(|field| field.name_bytes != name);
        self.len() < before
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let bytes = std::mem::take(&mut self.bytes);
        self.retain_records(|record| keep(field(&bytes, record)));
        self.bytes = bytes;
    }

    fn replace_value(&mut self, at: usize, value: &[u8]) {
        let old = self.fields[at].value_range();
        if self.bytes[old.clone()] == *value {
            return;
        }
        let start = if value.len() <= old.len() {
            self.bytes[old.start..old.start + value.len()].copy_from_slice(value);
            old.start
        } else {
            self.make_room(value.len());
            self.bytes.extend_from_slice(value);
            self.bytes.len() - value.len()
        };
        let record = &mut self.fields[at];
        // Only values of known names are replaced, which have no name bytes before them.
        record.start = start as u32;
        record.value_len = value.len() as u32;
        record.flags &= !INVALID;
        record.index = 0;
    }

    fn retain_records(&mut self, mut keep: impl FnMut(&Record) -> bool) {
        self.fields.retain(|record| keep(record));
        self.note_all();
        self.pseudo = self
            .fields
            .iter()
            .take_while(|record| record.name.is_pseudo())
            .count();
    }

    /// Notes all fields anew.
    fn note_all(&mut self) {
        self.present = Names::default();
        self.places = Places::default();
        for at in 0..self.fields.len() {
            self.note(self.fields[at].name, at);
        }
    }

    fn append(&mut self, name: Name, name_bytes: &[u8], value: &[u8], flags: u8) {
        self.make_room(name_bytes.len() + value.len());
        let record = Record {
            start: self.bytes.len() as u32,
            name_len: name_bytes.len() as u32,
            value_len: value.len() as u32,
            name,
            flags,
            index: 0,
        };
        self.bytes.extend_from_slice(name_bytes);
        self.bytes.extend_from_slice(value);
        if name.is_pseudo() && self.pseudo < self.fields.len() {
            self.fields.insert(self.pseudo, record);
            self.note_all();
        } else {
            self.note(name, self.fields.len());
            self.fields.push(record);
        }
        self.pseudo += usize::from(name.is_pseudo());
    }

    /// Leaves out the bytes of fields that are gone, when there would be no room for so many more and
    /// that is half of all. So a block that is changed for ever does not grow for ever.
    fn make_room(&mut self, more: usize) {
        if self.bytes.len() + more <= self.bytes.capacity() {
            return;
        }
        let live: u32 = self
            .fields
            .iter()
            .map(|record| record.name_len + record.value_len)
            .sum();
        if live as usize > self.bytes.len() / 2 {
            return;
        }
        let mut bytes = Vec::with_capacity(2 * (live as usize + more));
        for record in &mut self.fields {
            let range = record.name_range().start..record.value_range().end;
            record.start = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[range]);
        }
        self.bytes = bytes;
    }
}
