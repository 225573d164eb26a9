//! Wire bytes to JSON text: canonical proto3 JSON, zero values of fields without presence left out.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::write::{bits, fixed, is_zero, text, write_double, write_float, write_string};
use crate::{
    Error, MAX_DEPTH, Reason, Result,
    plan::{Field, Label, Message, MessageId, Plans, Shape, Type},
    wire::{self, Reader},
};

mod special;

/// Appends messages as JSON.
pub(crate) struct ToJson<'p, 'a> {
    plans: &'p Plans,
    depth: usize,
    /// The fields found so far of every message that is being written, innermost last.
    found: Vec<Entry<'a>>,
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    index: u16,
    wire_type: u8,
    value: &'a [u8],
}

impl<'p, 'a> ToJson<'p, 'a> {
    pub(crate) fn new(plans: &'p Plans) -> Self {
        Self::at_depth(plans, 0)
    }

    fn at_depth(plans: &'p Plans, depth: usize) -> Self {
        Self {
            plans,
            depth,
            found: Vec::new(),
        }
    }

    /// A whole message.
    pub(crate) fn message(
        &mut self,
        id: MessageId,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::new(
                Reason::TooDeep,
                format!("nested deeper than {MAX_DEPTH}"),
            ));
        }
        let plan = self.plans.message(id);
        match plan.shape {
            Shape::Fields | Shape::Empty => {
                out.push(b'{');
                self.fields(plan, bytes, out)?;
                out.push(b'}');
            }
            Shape::Timestamp => self.timestamp(bytes, out)?,
            Shape::Duration => self.duration(bytes, out)?,
            Shape::FieldMask => self.field_mask(bytes, out)?,
            Shape::Wrapper => self.wrapper(plan, bytes, out)?,
            Shape::Struct => self.structure(bytes, out)?,
            Shape::ListValue => self.list(bytes, out)?,
            Shape::Value => self.any_value(bytes, out)?,
            Shape::Any => self.any(bytes, out)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// The entries of a message's object, without braces.
    fn fields(&mut self, plan: &'p Message, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let base = self.found.len();
        self.collect(plan, bytes, base)?;
        let mut first = true;
        let mut at = base;
        while at < self.found.len() {
            let index = self.found[at].index;
            let count = self.found[at..]
                .iter()
                .take_while(|entry| entry.index == index)
                .count();
            let field = &plan.fields[usize::from(index)];
            let start = out.len();
            if !first {
                out.push(b',');
            }
            out.extend_from_slice(&field.json_key);
            let written = self
                .field(field, at, count, out)
                .map_err(|error| error.in_field(&field.json_name))?;
            if written {
                first = false;
            } else {
                out.truncate(start);
            }
            at += count;
        }
        self.found.truncate(base);
        Ok(())
    }

    /// One field's value alone; its type's zero where it is not set.
    pub(crate) fn only_field(
        &mut self,
        plan: &'p Message,
        index: usize,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.collect(plan, bytes, 0)?;
        self.found.retain(|entry| usize::from(entry.index) == index);
        let field = &plan.fields[index];
        let start = out.len();
        let count = self.found.len();
        if count > 0 && self.field(field, 0, count, out)? {
            return Ok(());
        }
        out.truncate(start);
        match field.label {
            Label::Repeated { .. } => out.extend_from_slice(b"[]"),
            Label::Map { .. } => out.extend_from_slice(b"{}"),
            Label::Singular => self.value(field.ty, b"", out)?,
        }
        Ok(())
    }

    /// Finds the known fields and puts those of one number together, in the order of numbers.
    fn collect(&mut self, plan: &Message, bytes: &'a [u8], base: usize) -> Result<()> {
        let mut reader = Reader::new(bytes);
        let mut sorted = true;
        while let Some(raw) = reader.next()? {
            let Some(index) = plan.index_by_number(raw.number) else {
                continue;
            };
            let field = &plan.fields[index];
            let own =
                raw.wire_type == field.ty.wire_type() && !matches!(field.label, Label::Map { .. });
            let map = matches!(field.label, Label::Map { .. }) && raw.wire_type == wire::LEN;
            let packed = matches!(field.label, Label::Repeated { .. })
                && raw.wire_type == wire::LEN
                && field.ty.wire_type() != wire::LEN;
            if !own && !map && !packed {
                continue;
            }
            let index = index as u16;
            if let Some(oneof) = field.oneof {
                // The last member given is the one that is set.
                let mut at = base;
                while at < self.found.len() {
                    let other = self.found[at].index;
                    if other != index && plan.fields[usize::from(other)].oneof == Some(oneof) {
                        self.found.remove(at);
                    } else {
                        at += 1;
                    }
                }
            }
            sorted &= self.found[base..]
                .last()
                .is_none_or(|last| last.index <= index);
            self.found.push(Entry {
                index,
                wire_type: raw.wire_type,
                value: raw.value,
            });
        }
        if !sorted {
            self.found[base..].sort_by_key(|entry| entry.index);
        }
        Ok(())
    }

    /// Whether the field had anything to write.
    fn field(&mut self, field: &Field, at: usize, count: usize, out: &mut Vec<u8>) -> Result<bool> {
        match field.label {
            Label::Singular => self.singular(field, at, count, out),
            Label::Repeated { .. } => {
                let start = out.len();
                out.push(b'[');
                for position in at..at + count {
                    let entry = self.found[position];
                    self.elements(field.ty, entry, out)?;
                }
                if out.len() == start + 1 {
                    return Ok(false);
                }
                out.pop();
                out.push(b']');
                Ok(true)
            }
            Label::Map { key } => {
                self.map(field.ty, key, at, count, out)?;
                Ok(true)
            }
        }
    }

    /// One element, or all of a packed list, each followed by a comma.
    fn elements(&mut self, ty: Type, entry: Entry<'a>, out: &mut Vec<u8>) -> Result<()> {
        if entry.wire_type == ty.wire_type() {
            self.value(ty, entry.value, out)?;
            out.push(b',');
            return Ok(());
        }
        let mut packed = Reader::new(entry.value);
        while !packed.is_empty() {
            let bits = match ty.wire_type() {
                wire::FIXED32 => u64::from(u32::from_le_bytes(fixed(packed.take(4)?)?)),
                wire::FIXED64 => u64::from_le_bytes(fixed(packed.take(8)?)?),
                _ => packed.varint()?,
            };
            self.number(ty, bits, out);
            out.push(b',');
        }
        Ok(())
    }

    fn singular(
        &mut self,
        field: &Field,
        at: usize,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let last = self.found[at + count - 1];
        if let (Type::Message(id), true) = (field.ty, count > 1) {
            // Parts of one message: their concatenation is their merge.
            let parts = &self.found[at..at + count];
            let whole: Vec<u8> = parts
                .iter()
                .flat_map(|entry| entry.value)
                .copied()
                .collect();
            ToJson::at_depth(self.plans, self.depth).message(id, &whole, out)?;
            return Ok(true);
        }
        if !field.presence && is_zero(field.ty, last.value)? {
            return Ok(false);
        }
        self.value(field.ty, last.value, out)?;
        Ok(true)
    }

    /// A value of any type. No bytes stand for zero, as a map entry without value has.
    pub(crate) fn value(&mut self, ty: Type, value: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        match ty {
            Type::Message(id) => return self.message(id, value, out),
            Type::String => write_string(out, text(value)?),
            Type::Bytes => {
                out.push(b'"');
                out.extend_from_slice(BASE64_STANDARD.encode(value).as_bytes());
                out.push(b'"');
            }
            _ => {
                let bits = bits(ty, value)?;
                self.number(ty, bits, out);
            }
        }
        Ok(())
    }

    fn number(&self, ty: Type, bits: u64, out: &mut Vec<u8>) {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = match ty {
            Type::Double => write_double(out, f64::from_bits(bits)),
            Type::Float => write_float(out, f32::from_bits(bits as u32)),
            Type::Int32 | Type::Sfixed32 => write!(out, "{}", bits as i32),
            Type::Sint32 => write!(out, "{}", wire::unzigzag(u64::from(bits as u32)) as i32),
            Type::Uint32 | Type::Fixed32 => write!(out, "{}", bits as u32),
            Type::Int64 | Type::Sfixed64 => write!(out, "\"{}\"", bits as i64),
            Type::Sint64 => write!(out, "\"{}\"", wire::unzigzag(bits)),
            Type::Uint64 | Type::Fixed64 => write!(out, "\"{bits}\""),
            Type::Bool => write!(out, "{}", bits != 0),
            Type::Enum(id) => {
                let descriptor = self.plans.enumeration(id);
                match descriptor.names.get(&(bits as i32)) {
                    _ if descriptor.is_null => write!(out, "null"),
                    Some(name) => write!(out, "\"{name}\""),
                    None => write!(out, "{}", bits as i32),
                }
            }
            Type::String | Type::Bytes | Type::Message(_) => Ok(()),
        };
    }
}
