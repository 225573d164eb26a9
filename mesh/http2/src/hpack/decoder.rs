use super::{
    Error, TABLE_BYTES,
    fields::{self, STATIC},
    paths::Paths,
    table::{Table, field_size},
};
use crate::{
    HeaderBlock, Name,
    block::{INVALID, SENSITIVE},
    huffman,
};

/// A list may be this many times too large and only its stream suffers. Beyond, the connection does.
pub(crate) const WAY_TOO_LARGE: usize = 4;

/// What became of a header block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All fields are in the block.
    Complete,
    /// The list is larger than allowed. The block holds only its first fields; the table is right.
    TooLarge,
}

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    paths: Paths,
    max_list: usize,
}

/// A name, known or behind the fields in the block's buffer.
#[derive(Clone, Copy)]
struct NameRef {
    name: Name,
    flags: u8,
}

impl Decoder {
    /// `max_list_bytes` is our SETTINGS_MAX_HEADER_LIST_SIZE.
    pub fn new(max_list_bytes: usize) -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            paths: Paths::default(),
            max_list: max_list_bytes,
        }
    }

    /// Decodes a whole header block and appends its fields to `block`.
    ///
    /// # Errors
    ///
    /// If the connection cannot go on.
    pub fn decode(&mut self, input: &[u8], block: &mut HeaderBlock) -> Result<Outcome, Error> {
        let mut run = Run {
            table: &mut self.table,
            paths: &mut self.paths,
            input,
            block,
            size: 0,
            max_list: self.max_list,
        };
        run.size_updates()?;
        while let Some(&first) = run.input.first() {
            if first & 0x80 != 0 {
                run.indexed()?;
            } else if first & 0x40 != 0 {
                run.literal(6, true, 0)?;
            } else if first & 0x20 != 0 {
                return Err(Error::InvalidSizeUpdate);
            } else {
                run.literal(4, false, if first & 0x10 != 0 { SENSITIVE } else { 0 })?;
            }
        }
        Ok(if run.is_over() {
            Outcome::TooLarge
        } else {
            Outcome::Complete
        })
    }
}

/// One header block under way.
struct Run<'a> {
    table: &'a mut Table,
    paths: &'a mut Paths,
    input: &'a [u8],
    block: &'a mut HeaderBlock,
    size: usize,
    max_list: usize,
}

impl<'a> Run<'a> {
    fn is_over(&self) -> bool {
        self.size > self.max_list
    }

    /// Counts a field; at its latest now it is known whether it will be kept.
    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.size += bytes;
        if self.size > WAY_TOO_LARGE * self.max_list {
            Err(Error::WayTooLarge)
        } else {
            Ok(())
        }
    }

    fn size_updates(&mut self) -> Result<(), Error> {
        while self.input.first().is_some_and(|first| first & 0xe0 == 0x20) {
            let size = self.integer(5)?;
            if size > TABLE_BYTES {
                return Err(Error::InvalidSizeUpdate);
            }
            self.table.resize(size);
        }
        Ok(())
    }

    fn indexed(&mut self) -> Result<(), Error> {
        let index = self.integer(7)?;
        if index == 0 {
            return Err(Error::InvalidIndex);
        }
        if let Some(&(name, value)) = STATIC.get(index - 1) {
            self.count(field_size(name, &[], value.len()))?;
            if !self.is_over() {
                // An index of the static table is at most 61.
                self.block.receive_static(index as u8, name, value);
            }
            return Ok(());
        }
        let entry = self.table.get(index - 1 - STATIC.len());
        let entry = entry.ok_or(Error::InvalidIndex)?;
        let size = entry.size();
        if self.size + size <= self.max_list {
            let bytes = self.table.field_bytes(entry);
            let name_len = usize::from(entry.name_len);
            self.block.receive(entry.name, name_len, bytes, entry.flags);
        }
        self.count(size)
    }

    /// A literal field: its bytes are decoded to the end of the block's buffer, where they stay if the
    /// field is kept, and are inserted into the table from there.
    fn literal(&mut self, prefix: u32, insert: bool, flags: u8) -> Result<(), Error> {
        let start = self.block.bytes.len();
        let index = self.integer(prefix)?;
        let name = if index > 0 {
            self.table_name(index)?
        } else {
            self.literal_name(insert)?
        };
        let name_end = self.block.bytes.len();
        let (huffman, coded) = self.string()?;
        let name_len = field_size(name.name, &self.block.bytes[start..], 0);
        // 30 bits are the longest code of a byte. A field that cannot fit is not decoded for the block.
        let least = if huffman {
            coded.len() * 8 / 30
        } else {
            coded.len()
        };
        let wanted = self.size + name_len + least <= self.max_list;
        if !wanted && (!insert || name_len + least > self.table.max()) {
            if insert {
                self.table.clear();
            }
            self.block.bytes.truncate(start);
            return self.count(name_len + least);
        }
        let is_plain = if huffman && name.name == Name::Path {
            let decoded = self.paths.decode(coded, &mut self.block.bytes);
            decoded.map_err(|_| Error::InvalidHuffman)?
        } else {
            self.decode_string(huffman, coded)?
        };
        let bytes = &self.block.bytes[start..];
        let (name_bytes, value) = bytes.split_at(name_end - start);
        let valid = name.flags & INVALID == 0
            && (is_plain || !fields::has_forbidden_bytes(value))
            && !fields::has_space_around(value);
        let flags = flags | if valid { 0 } else { INVALID };
        let size = name_len + value.len();
        if insert {
            self.table.insert(name.name, name_bytes, value, flags);
        }
        let (name_len, value_len) = (name_bytes.len(), value.len());
        if self.size + size <= self.max_list {
            self.block
                .keep(name.name, start, name_len, value_len, flags);
        } else {
            self.block.bytes.truncate(start);
        }
        self.count(size)
    }

    /// The name of an entry, with the bytes of an unknown one behind the block's.
    fn table_name(&mut self, index: usize) -> Result<NameRef, Error> {
        if let Some(&(name, _)) = STATIC.get(index - 1) {
            return Ok(NameRef { name, flags: 0 });
        }
        let entry = self
            .table
            .get(index - 1 - STATIC.len())
            .ok_or(Error::InvalidIndex)?;
        let name_bytes = self.table.name_bytes(entry);
        self.block.bytes.extend_from_slice(name_bytes);
        let valid = entry.name != Name::Other || fields::is_valid_name(name_bytes);
        Ok(NameRef {
            name: entry.name,
            flags: if valid { 0 } else { INVALID },
        })
    }

    /// A name in the input, whose bytes stay behind the block's if it is unknown.
    fn literal_name(&mut self, insert: bool) -> Result<NameRef, Error> {
        let start = self.block.bytes.len();
        let (huffman, coded) = self.string()?;
        if self.size + coded.len() * 8 / 30 > self.max_list && !insert {
            // Over the limit for sure. It counts, and need not be known.
            self.count(coded.len() * 8 / 30)?;
            return Ok(NameRef {
                name: Name::Other,
                flags: INVALID,
            });
        }
        self.decode_string(huffman, coded)?;
        let bytes = &self.block.bytes[start..];
        let name = Name::from_bytes(bytes);
        let mut flags = 0;
        if name != Name::Other {
            self.block.bytes.truncate(start);
        } else if !fields::is_valid_name(bytes) {
            flags = INVALID;
        }
        Ok(NameRef { name, flags })
    }

    /// Says whether there are provably no control characters in it.
    fn decode_string(&mut self, huffman: bool, coded: &[u8]) -> Result<bool, Error> {
        if huffman {
            huffman::decode(coded, &mut self.block.bytes).map_err(|_| Error::InvalidHuffman)
        } else {
            self.block.bytes.extend_from_slice(coded);
            Ok(false)
        }
    }

    /// A string as it is coded, and whether that is Huffman's.
    fn string(&mut self) -> Result<(bool, &'a [u8]), Error> {
        let huffman = self.input.first().ok_or(Error::Truncated)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (string, rest) = self
            .input
            .split_at_checked(length)
            .ok_or(Error::Truncated)?;
        self.input = rest;
        Ok((huffman, string))
    }

    /// RFC 7541, section 5.1, up to 28 bits behind the prefix.
    fn integer(&mut self, prefix: u32) -> Result<usize, Error> {
        let (&first, mut rest) = self.input.split_first().ok_or(Error::Truncated)?;
        let mask = (1usize << prefix) - 1;
        let mut value = usize::from(first) & mask;
        if value == mask {
            let mut shift = 0;
            loop {
                let (&byte, next) = rest.split_first().ok_or(Error::Truncated)?;
                if shift > 21 {
                    return Err(Error::IntegerOverflow);
                }
                value += usize::from(byte & 0x7f) << shift;
                rest = next;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.input = rest;
        Ok(value)
    }
}
