//! Messages with a JSON form of their own.

use std::{borrow::Cow, collections::HashSet};

use super::FromJson;
use crate::{
    Error, Reason, Result,
    json::{
        read::{Found, Reader},
        values::{put_number, put_scalar_text, put_seconds, shown},
    },
    plan::{Message, Shape, Type},
    wire, wkt,
};

impl FromJson<'_> {
    pub(super) fn structure(&self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut keys = HashSet::new();
        reader.object(|reader, key| {
            wire::put_tag(out, 1, wire::LEN);
            let entry = wire::begin(out);
            wire::put_tag(out, 1, wire::LEN);
            wire::put_bytes(out, key.as_bytes());
            wire::put_tag(out, 2, wire::LEN);
            let start = wire::begin(out);
            self.any_value(reader, out)
                .map_err(|error| error.in_field(&key))?;
            wire::end(out, start);
            wire::end(out, entry);
            if !keys.insert(key.clone()) {
                return Err(Error::new(Reason::DuplicateField, "given twice").in_field(&key));
            }
            Ok(())
        })
    }

    pub(super) fn list(&self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        reader.array(|reader, _| {
            wire::put_tag(out, 1, wire::LEN);
            let start = wire::begin(out);
            self.any_value(reader, out)?;
            wire::end(out, start);
            Ok(())
        })
    }

    /// The content of a `google.protobuf.Value`.
    pub(super) fn any_value(&self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        match reader.peek()? {
            Found::Null => {
                out.extend([0x08, 0]);
                reader.null()
            }
            Found::Number => {
                wire::put_tag(out, 2, wire::FIXED64);
                put_number(Type::Double, reader.number()?, out)
            }
            Found::String => {
                wire::put_tag(out, 3, wire::LEN);
                wire::put_bytes(out, reader.string()?.as_bytes());
                Ok(())
            }
            Found::Bool => {
                let value = reader.boolean()?;
                out.extend([0x20, value.into()]);
                Ok(())
            }
            Found::Object => {
                wire::put_tag(out, 5, wire::LEN);
                let start = wire::begin(out);
                self.structure(reader, out)?;
                wire::end(out, start);
                Ok(())
            }
            Found::Array => {
                wire::put_tag(out, 6, wire::LEN);
                let start = wire::begin(out);
                self.list(reader, out)?;
                wire::end(out, start);
                Ok(())
            }
        }
    }

    /// The content of a `google.protobuf.Any`. `@type` may stand anywhere in the object.
    pub(super) fn any(&self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let depth = reader.depth();
        if reader.peek()? != Found::Object {
            return reader.object(|_, _| Ok(()));
        }
        let text = reader.raw()?;
        let mut url = None;
        Reader::at_depth(text, depth).object(|reader, key| {
            if key == "@type" {
                url = Some(reader.string().map_err(|error| error.in_field("@type"))?);
                return Ok(());
            }
            reader.raw().map(drop)
        })?;
        let Some(url) = url else {
            if text
                .trim_matches(['{', '}', ' ', '\n', '\r', '\t'])
                .is_empty()
            {
                return Ok(());
            }
            return Err(Error::new(Reason::WrongType, "an Any needs `@type`"));
        };
        let plan = url
            .rsplit_once('/')
            .and_then(|(_, name)| self.plans.id(name))
            .map(|id| self.plans.message(id))
            .ok_or_else(|| {
                let message = format!("unknown message type {}", shown(&url));
                Error::new(Reason::WrongType, message).in_field("@type")
            })?;
        wire::put_tag(out, 1, wire::LEN);
        wire::put_bytes(out, url.as_bytes());
        let tag = out.len();
        wire::put_tag(out, 2, wire::LEN);
        let start = wire::begin(out);
        let mut inner = Reader::at_depth(text, depth);
        if plan.shape == Shape::Fields {
            self.fields(plan, &mut inner, out, Some("@type"))?;
        } else {
            inner.object(|reader, key| match key.as_ref() {
                "@type" => reader.raw().map(drop),
                "value" => self
                    .message(plan, reader, out)
                    .map_err(|e| e.in_field("value")),
                _ => Err(Error::new(Reason::UnknownField, "expected only `value`").in_field(&key)),
            })?;
        }
        wire::end(out, start);
        if out.len() == start {
            out.truncate(tag);
        }
        Ok(())
    }
}

pub(super) fn text_of<'a>(reader: &mut Reader<'a>, expected: &str) -> Result<Cow<'a, str>> {
    match reader.peek()? {
        Found::String => reader.string(),
        found => Err(Error::wrong_type(expected, found.name())),
    }
}

pub(super) fn timestamp(text: &str) -> Result<(i64, i32)> {
    wkt::parse_timestamp(text).ok_or_else(|| {
        let expected = "an RFC 3339 time such as `2026-01-31T12:00:00Z`";
        Error::wrong_type(expected, &shown(text))
    })
}

pub(super) fn duration(text: &str) -> Result<(i64, i32)> {
    wkt::parse_duration(text).ok_or_else(|| {
        let expected = "a duration such as `1.5s`";
        Error::wrong_type(expected, &shown(text))
    })
}

pub(super) fn put_field_mask(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let paths = wkt::parse_field_mask(text).ok_or_else(|| {
        let expected = "lowerCamel field paths such as `name,address.zipCode`";
        Error::wrong_type(expected, &shown(text))
    })?;
    for path in paths {
        wire::put_tag(out, 1, wire::LEN);
        wire::put_bytes(out, path.as_bytes());
    }
    Ok(())
}

impl FromJson<'_> {
    /// The content of a message that has a text form: times, durations, masks, wrappers.
    pub(crate) fn message_text(&self, plan: &Message, text: &str, out: &mut Vec<u8>) -> Result<()> {
        match plan.shape {
            Shape::Timestamp => put_seconds(timestamp(text)?, out),
            Shape::Duration => put_seconds(duration(text)?, out),
            Shape::FieldMask => put_field_mask(text, out)?,
            Shape::Wrapper => {
                if let Some(field) = plan.fields.first() {
                    wire::put_tag(out, field.number, field.ty.wire_type());
                    put_scalar_text(self.plans, field.ty, text, out)?;
                }
            }
            _ => {
                return Err(Error::new(
                    Reason::InvalidParameter,
                    "has no text form; name one of its fields",
                ));
            }
        }
        Ok(())
    }
}
