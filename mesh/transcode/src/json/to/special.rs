//! Maps, and messages with a JSON form of their own.

use std::collections::HashMap;

use super::{Entry, ToJson};
use crate::{
    Result,
    json::write::{bits, broken, default_key, text, write_double, write_string},
    plan::{Message, Shape, Type},
    wire::{self, Reader},
    wkt,
};

impl<'p, 'a> ToJson<'p, 'a> {
    pub(super) fn timestamp(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (seconds, nanos) = seconds(bytes)?;
        let text = wkt::format_timestamp(seconds, nanos)
            .ok_or_else(|| broken("timestamp out of range"))?;
        write_string(out, &text);
        Ok(())
    }

    pub(super) fn duration(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (seconds, nanos) = seconds(bytes)?;
        let text =
            wkt::format_duration(seconds, nanos).ok_or_else(|| broken("duration out of range"))?;
        write_string(out, &text);
        Ok(())
    }

    pub(super) fn wrapper(
        &mut self,
        plan: &'p Message,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(field) = plan.fields.first() else {
            return Ok(());
        };
        let value = wire::lookup(bytes, &[field.number])?.map_or(&b""[..], |raw| raw.value);
        self.value(field.ty, value, out)
    }

    pub(super) fn field_mask(&self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let mut paths = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some(raw) = reader.next()? {
            if raw.number == 1 && raw.wire_type == wire::LEN {
                paths.push(text(raw.value)?);
            }
        }
        let joined = wkt::format_field_mask(paths.into_iter())
            .ok_or_else(|| broken("field mask path has no JSON form"))?;
        write_string(out, &joined);
        Ok(())
    }

    pub(super) fn map(
        &mut self,
        ty: Type,
        key: Type,
        at: usize,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut entries: Vec<(String, &'a [u8])> = Vec::with_capacity(count);
        let mut places = HashMap::new();
        for position in at..at + count {
            let bytes = self.found[position].value;
            let (mut name, mut value) = (default_key(key), &b""[..]);
            let mut reader = Reader::new(bytes);
            while let Some(raw) = reader.next()? {
                match raw.number {
                    1 if raw.wire_type == key.wire_type() => name = self.key(key, raw.value)?,
                    2 if raw.wire_type == ty.wire_type() => value = raw.value,
                    _ => {}
                }
            }
            match places.get(&name) {
                Some(place) => {
                    let place: usize = *place;
                    entries[place].1 = value;
                }
                None => {
                    places.insert(name.clone(), entries.len());
                    entries.push((name, value));
                }
            }
        }
        out.push(b'{');
        for (position, (name, value)) in entries.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            self.value(ty, value, out)
                .map_err(|error| error.in_key(name))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn key(&mut self, ty: Type, value: &'a [u8]) -> Result<String> {
        if ty == Type::String {
            return Ok(text(value)?.to_owned());
        }
        let mut out = Vec::new();
        self.value(ty, value, &mut out)?;
        let key = String::from_utf8(out).map_err(|_| broken("map key"))?;
        Ok(key.trim_matches('"').to_owned())
    }

    pub(super) fn structure(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let base = self.found.len();
        let mut reader = Reader::new(bytes);
        while let Some(raw) = reader.next()? {
            if raw.number == 1 && raw.wire_type == wire::LEN {
                self.found.push(Entry {
                    index: 0,
                    wire_type: wire::LEN,
                    value: raw.value,
                });
            }
        }
        let count = self.found.len() - base;
        let value = self
            .plans
            .id("google.protobuf.Value")
            .ok_or_else(|| broken("no Value"))?;
        self.map(Type::Message(value), Type::String, base, count, out)?;
        self.found.truncate(base);
        Ok(())
    }

    pub(super) fn list(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let value = self
            .plans
            .id("google.protobuf.Value")
            .ok_or_else(|| broken("no Value"))?;
        out.push(b'[');
        let start = out.len();
        let mut reader = Reader::new(bytes);
        while let Some(raw) = reader.next()? {
            if raw.number == 1 && raw.wire_type == wire::LEN {
                if out.len() > start {
                    out.push(b',');
                }
                self.message(value, raw.value, out)?;
            }
        }
        out.push(b']');
        Ok(())
    }

    pub(super) fn any_value(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let id = |name| self.plans.id(name).ok_or_else(|| broken("no Struct"));
        let (structure, list) = (
            id("google.protobuf.Struct")?,
            id("google.protobuf.ListValue")?,
        );
        let mut last = None;
        let mut reader = Reader::new(bytes);
        while let Some(raw) = reader.next()? {
            if (1..=6).contains(&raw.number) {
                last = Some(raw);
            }
        }
        match last.map(|raw| (raw.number, raw.wire_type, raw.value)) {
            None | Some((1, wire::VARINT, _)) => out.extend_from_slice(b"null"),
            Some((2, wire::FIXED64, value)) => {
                let number = f64::from_bits(bits(Type::Double, value)?);
                if !number.is_finite() {
                    return Err(broken("a Value cannot hold NaN or infinity"));
                }
                let _ = write_double(out, number);
            }
            Some((3, wire::LEN, value)) => write_string(out, text(value)?),
            Some((4, wire::VARINT, value)) => self.value(Type::Bool, value, out)?,
            Some((5, wire::LEN, value)) => self.message(structure, value, out)?,
            Some((6, wire::LEN, value)) => self.message(list, value, out)?,
            Some(_) => return Err(broken("a Value of another wire type")),
        }
        Ok(())
    }

    /// A type that is not in the pool is written as `{"@type": ..., "value": base64}`: details of
    /// errors must not hide the error.
    pub(super) fn any(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let part = |number| Ok(wire::lookup(bytes, &[number])?.map_or(&b""[..], |raw| raw.value));
        let (url, value) = (text(part(1)?)?, part(2)?);
        if url.is_empty() && value.is_empty() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        out.extend_from_slice(b"{\"@type\":");
        write_string(out, url);
        let id = url
            .rsplit_once('/')
            .and_then(|(_, name)| self.plans.id(name));
        match id.map(|id| (id, self.plans.message(id))) {
            Some((_, plan)) if plan.shape == Shape::Fields => {
                out.push(b',');
                let start = out.len();
                self.fields(plan, value, out)?;
                if out.len() == start {
                    out.pop();
                }
            }
            Some((id, _)) => {
                out.extend_from_slice(b",\"value\":");
                self.message(id, value, out)?;
            }
            None => {
                out.extend_from_slice(b",\"value\":");
                self.value(Type::Bytes, value, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// The two numbers of a `Timestamp` or `Duration`.
fn seconds(bytes: &[u8]) -> Result<(i64, i32)> {
    let part = |number| {
        let raw = wire::lookup(bytes, &[number])?;
        let raw = raw.filter(|raw| raw.wire_type == wire::VARINT);
        bits(Type::Int64, raw.map_or(&b""[..], |raw| raw.value))
    };
    Ok((part(1)? as i64, part(2)? as i32))
}
