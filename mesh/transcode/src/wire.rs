//! Protobuf's wire format: tags, varints, lengths.

use crate::{Error, Reason, Result};

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
pub(crate) const FIXED32: u8 = 5;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Leaves room for a length; [`end`] fills it in.
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of everything since [`begin`].
pub(crate) fn end(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(&mut prefix, length as u64);
        out.splice(start - 1..start, prefix);
    }
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn broken(what: &str) -> Error {
    Error::new(Reason::InvalidMessage, what)
}

/// Reads a message field by field.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

/// One field as it stands on the wire. `value` is a varint's bytes, the fixed bytes, or the content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) number: u32,
    pub(crate) wire_type: u8,
    pub(crate) value: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for (index, byte) in self.bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    return Err(broken("varint of more than 64 bits"));
                }
                self.bytes = &self.bytes[index + 1..];
                return Ok(value);
            }
        }
        Err(broken("varint without end"))
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        if length > self.bytes.len() {
            return Err(broken("field longer than its message"));
        }
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Ok(taken)
    }

    /// The next field, groups skipped; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Raw<'a>>> {
        while !self.is_empty() {
            let (number, wire_type) = self.tag()?;
            if wire_type == START_GROUP {
                self.skip_group(number, 0)?;
                continue;
            }
            let value = self.value(wire_type)?;
            return Ok(Some(Raw {
                number,
                wire_type,
                value,
            }));
        }
        Ok(None)
    }

    fn tag(&mut self) -> Result<(u32, u8)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| broken("field number too large"))?;
        if number == 0 {
            return Err(broken("field number zero"));
        }
        Ok((number, (tag & 7) as u8))
    }

    fn value(&mut self, wire_type: u8) -> Result<&'a [u8]> {
        match wire_type {
            VARINT => {
                let whole = self.bytes;
                self.varint()?;
                Ok(&whole[..whole.len() - self.bytes.len()])
            }
            FIXED64 => self.take(8),
            FIXED32 => self.take(4),
            LEN => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                self.take(length)
            }
            _ => Err(broken("unknown wire type")),
        }
    }

    fn skip_group(&mut self, group: u32, depth: usize) -> Result<()> {
        if depth > crate::MAX_DEPTH {
            return Err(broken("groups nested too deep"));
        }
        loop {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                END_GROUP if number == group => return Ok(()),
                END_GROUP => return Err(broken("end of another group")),
                START_GROUP => self.skip_group(number, depth + 1)?,
                _ => {
                    self.value(wire_type)?;
                }
            }
        }
    }
}

/// The last value of a field, followed through singular messages by field numbers.
pub(crate) fn lookup<'a>(message: &'a [u8], numbers: &[u32]) -> Result<Option<Raw<'a>>> {
    let Some((first, rest)) = numbers.split_first() else {
        return Ok(None);
    };
    let mut found = None;
    let mut reader = Reader::new(message);
    while let Some(raw) = reader.next()? {
        if raw.number != *first {
            continue;
        }
        if rest.is_empty() {
            found = Some(raw);
        } else if raw.wire_type == LEN {
            // Parts of one message may stand apart: the last part that has the field decides.
            found = lookup(raw.value, rest)?.or(found);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_content_gets_a_long_length() {
        let mut out = vec![9];
        let start = begin(&mut out);
        out.extend(std::iter::repeat_n(7, 300));
        end(&mut out, start);
        assert_eq!(&out[..4], &[9, 0xac, 0x02, 7]);
        assert_eq!(out.len(), 303);
    }

    #[test]
    fn broken_bytes_are_errors_not_panics() {
        for bytes in [
            &[0x08][..],
            &[0x0a, 0x05, 1],
            &[0x00, 1],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x0d, 1, 2],
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
        ] {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn groups_are_skipped() {
        let bytes = [0x0b, 0x10, 1, 0x0c, 0x18, 5];
        let raw = Reader::new(&bytes).next().unwrap().unwrap();
        assert_eq!((raw.number, raw.value), (3, &[5][..]));
    }

    #[test]
    fn zigzag_goes_both_ways() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
