//! JSON text to wire bytes.

use std::collections::HashSet;

use super::{
    read::{Found, Reader},
    values::{put_number, put_scalar_text, put_seconds},
};
use crate::{
    Error, Reason, Result,
    error::nearest,
    plan::{Field, Label, Message, Plans, Shape, Type},
    wire,
};

mod special;

use special::{duration, put_field_mask, text_of, timestamp};

/// Reads JSON by the plan and appends wire bytes.
#[derive(Clone, Copy)]
pub(crate) struct FromJson<'p> {
    pub(crate) plans: &'p Plans,
}

/// Which fields and oneofs of one message were given.
#[derive(Default)]
struct Seen {
    low: u64,
    high: Vec<u16>,
    oneofs: Vec<(u16, u16)>,
}

impl Seen {
    /// Whether `index` is new.
    fn insert(&mut self, index: usize) -> bool {
        if index < 64 {
            let bit = 1 << index;
            let new = self.low & bit == 0;
            self.low |= bit;
            return new;
        }
        let index = index as u16;
        let new = !self.high.contains(&index);
        self.high.push(index);
        new
    }

    /// The other field of the same oneof, if one was given.
    fn other_of(&mut self, oneof: u16, index: usize) -> Option<usize> {
        let other = self.oneofs.iter().find(|(seen, _)| *seen == oneof);
        if let Some((_, other)) = other {
            return Some(usize::from(*other));
        }
        self.oneofs.push((oneof, index as u16));
        None
    }
}

impl<'p> FromJson<'p> {
    /// The content of a message, without its length.
    pub(crate) fn message(
        &self,
        plan: &'p Message,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match plan.shape {
            Shape::Fields | Shape::Empty => self.fields(plan, reader, out, None),
            Shape::Timestamp => {
                let text = text_of(reader, "an RFC 3339 time in a string")?;
                put_seconds(timestamp(&text)?, out);
                Ok(())
            }
            Shape::Duration => {
                let text = text_of(reader, "a duration in a string, such as \"1.5s\"")?;
                put_seconds(duration(&text)?, out);
                Ok(())
            }
            Shape::FieldMask => {
                let text = text_of(reader, "field paths in a string")?;
                put_field_mask(&text, out)
            }
            Shape::Wrapper => {
                let Some(field) = plan.fields.first() else {
                    return Ok(());
                };
                self.singular(field, reader, out)
            }
            Shape::Struct => self.structure(reader, out),
            Shape::ListValue => self.list(reader, out),
            Shape::Value => self.any_value(reader, out),
            Shape::Any => self.any(reader, out),
        }
    }

    /// An object's entries as fields. `except` is a key that is not one.
    fn fields(
        &self,
        plan: &'p Message,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
        except: Option<&str>,
    ) -> Result<()> {
        let mut seen = Seen::default();
        reader.object(|reader, key| {
            if except == Some(key.as_ref()) {
                return reader.raw().map(drop);
            }
            let Some((index, field)) = plan.field_by_name(&key) else {
                return Err(unknown_field(plan, &key));
            };
            self.entry(plan, index, field, &mut seen, reader, out)
                .map_err(|error| error.in_field(&key))
        })
    }

    fn entry(
        &self,
        plan: &'p Message,
        index: usize,
        field: &'p Field,
        seen: &mut Seen,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if !seen.insert(index) {
            return Err(Error::new(Reason::DuplicateField, "given twice"));
        }
        if reader.peek()? == Found::Null && !self.takes_null(field) {
            return reader.null();
        }
        if let Some(oneof) = field.oneof
            && let Some(other) = seen.other_of(oneof, index)
        {
            let other = &plan.fields[other].json_name;
            let message = format!("cannot be given together with `{other}`");
            return Err(Error::new(Reason::DuplicateField, message));
        }
        self.field(field, reader, out)
    }

    /// Whether null is a value of the field rather than its absence.
    fn takes_null(&self, field: &Field) -> bool {
        field.label == Label::Singular && self.null_is_a_value(field.ty)
    }

    fn null_is_a_value(&self, ty: Type) -> bool {
        match ty {
            Type::Enum(id) => self.plans.enumeration(id).is_null,
            Type::Message(id) => self.plans.message(id).shape == Shape::Value,
            _ => false,
        }
    }

    /// A field with its tag or tags.
    pub(crate) fn field(
        &self,
        field: &'p Field,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match field.label {
            Label::Singular => self.singular(field, reader, out),
            Label::Repeated { packed: true } => {
                let tag = out.len();
                wire::put_tag(out, field.number, wire::LEN);
                let start = wire::begin(out);
                reader.array(|reader, _| self.value(field.ty, reader, out))?;
                if out.len() == start {
                    out.truncate(tag);
                } else {
                    wire::end(out, start);
                }
                Ok(())
            }
            Label::Repeated { packed: false } => reader.array(|reader, _| {
                wire::put_tag(out, field.number, field.ty.wire_type());
                self.value(field.ty, reader, out)
            }),
            Label::Map { key } => self.map(field, key, reader, out),
        }
    }

    fn singular(&self, field: &'p Field, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let tag = out.len();
        wire::put_tag(out, field.number, field.ty.wire_type());
        let value = out.len();
        self.value(field.ty, reader, out)?;
        if !field.presence && out[value..].iter().all(|byte| *byte == 0) {
            out.truncate(tag);
        }
        Ok(())
    }

    fn map(
        &self,
        field: &'p Field,
        key_type: Type,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut keys = HashSet::new();
        reader.object(|reader, key| {
            let mut encoded = Vec::with_capacity(key.len() + 2);
            put_scalar_text(self.plans, key_type, &key, &mut encoded)
                .map_err(|error| error.in_key(&key))?;
            wire::put_tag(out, field.number, wire::LEN);
            let start = wire::begin(out);
            wire::put_tag(out, 1, key_type.wire_type());
            out.extend_from_slice(&encoded);
            wire::put_tag(out, 2, field.ty.wire_type());
            self.value(field.ty, reader, out)
                .map_err(|error| error.in_key(&key))?;
            wire::end(out, start);
            if !keys.insert(encoded) {
                return Err(Error::new(Reason::DuplicateField, "given twice").in_key(&key));
            }
            Ok(())
        })
    }

    /// A value without its tag; a message with its length.
    pub(crate) fn value(&self, ty: Type, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let found = reader.peek()?;
        let wrong = |found: Found| Err(Error::wrong_type(ty.expected(), found.name()));
        match (ty, found) {
            (Type::Message(id), _) => {
                let start = wire::begin(out);
                self.message(self.plans.message(id), reader, out)?;
                wire::end(out, start);
                Ok(())
            }
            (Type::Enum(id), Found::Null) if self.plans.enumeration(id).is_null => {
                out.push(0);
                reader.null()
            }
            (Type::Enum(_), Found::Number) => put_number(Type::Int32, reader.number()?, out),
            (Type::Bool, Found::Bool) => {
                out.push(reader.boolean()?.into());
                Ok(())
            }
            (Type::Bool, _) => wrong(found),
            (Type::String | Type::Bytes | Type::Enum(_), Found::String) => {
                put_scalar_text(self.plans, ty, &reader.string()?, out)
            }
            (Type::String | Type::Bytes | Type::Enum(_), _) => wrong(found),
            (_, Found::Number) => put_number(ty, reader.number()?, out),
            (_, Found::String) => put_number(ty, &reader.string()?, out),
            _ => wrong(found),
        }
    }
}

fn unknown_field(plan: &Message, key: &str) -> Error {
    let hint = nearest(key, plan.field_names())
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    let message = format!("unknown field of {}{hint}", plan.name);
    Error::new(Reason::UnknownField, message).in_field(key)
}
