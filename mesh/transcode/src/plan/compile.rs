//! From descriptors to tables.

use std::collections::HashMap;

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

use super::{Field, Label, Message, MessageId, Shape, Type};

pub(super) struct Compiler<'a> {
    pub(super) by_name: &'a HashMap<String, MessageId>,
    pub(super) enum_ids: &'a HashMap<String, u32>,
}

impl Compiler<'_> {
    pub(super) fn message(&self, descriptor: &MessageDescriptor) -> Message {
        let oneofs: Vec<String> = descriptor
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| oneof.full_name().to_owned())
            .collect();
        let mut fields: Vec<Field> = descriptor
            .fields()
            .filter(|field| !field.is_group())
            .filter_map(|field| self.field(&field, &oneofs))
            .collect();
        fields.sort_by_key(|field| field.number);
        let mut by_json = HashMap::new();
        let mut dense = vec![0; 1];
        for (index, field) in fields.iter().enumerate() {
            by_json.insert(field.json_name.clone(), index as u16);
            by_json
                .entry(field.proto_name.clone())
                .or_insert(index as u16);
            if field.number < 256 {
                dense.resize(dense.len().max(field.number as usize + 1), 0);
                dense[field.number as usize] = index as u16 + 1;
            }
        }
        Message {
            name: descriptor.full_name().to_owned(),
            shape: shape(descriptor.full_name()),
            fields,
            by_json,
            dense,
        }
    }

    fn field(&self, field: &FieldDescriptor, oneofs: &[String]) -> Option<Field> {
        let (ty, label) = if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return None;
            };
            let key = self.kind(&entry.map_entry_key_field().kind())?;
            (
                self.kind(&entry.map_entry_value_field().kind())?,
                Label::Map { key },
            )
        } else if field.cardinality() == Cardinality::Repeated {
            let packed = field.is_packed();
            (self.kind(&field.kind())?, Label::Repeated { packed })
        } else {
            (self.kind(&field.kind())?, Label::Singular)
        };
        let oneof = field
            .containing_oneof()
            .and_then(|oneof| oneofs.iter().position(|name| name == oneof.full_name()))
            .map(|index| index as u16);
        let json_key = serde_json::Value::from(field.json_name()).to_string() + ":";
        Some(Field {
            number: field.number(),
            json_name: field.json_name().to_owned(),
            proto_name: field.name().to_owned(),
            json_key: json_key.into_bytes(),
            ty,
            label,
            presence: field.supports_presence(),
            oneof,
        })
    }

    fn kind(&self, kind: &Kind) -> Option<Type> {
        Some(match kind {
            Kind::Double => Type::Double,
            Kind::Float => Type::Float,
            Kind::Int32 => Type::Int32,
            Kind::Int64 => Type::Int64,
            Kind::Uint32 => Type::Uint32,
            Kind::Uint64 => Type::Uint64,
            Kind::Sint32 => Type::Sint32,
            Kind::Sint64 => Type::Sint64,
            Kind::Fixed32 => Type::Fixed32,
            Kind::Fixed64 => Type::Fixed64,
            Kind::Sfixed32 => Type::Sfixed32,
            Kind::Sfixed64 => Type::Sfixed64,
            Kind::Bool => Type::Bool,
            Kind::String => Type::String,
            Kind::Bytes => Type::Bytes,
            Kind::Message(message) => Type::Message(*self.by_name.get(message.full_name())?),
            Kind::Enum(descriptor) => Type::Enum(*self.enum_ids.get(descriptor.full_name())?),
        })
    }
}

fn shape(full_name: &str) -> Shape {
    match full_name.strip_prefix("google.protobuf.") {
        Some("Any") => Shape::Any,
        Some("Timestamp") => Shape::Timestamp,
        Some("Duration") => Shape::Duration,
        Some("FieldMask") => Shape::FieldMask,
        Some("Struct") => Shape::Struct,
        Some("Value") => Shape::Value,
        Some("ListValue") => Shape::ListValue,
        Some("Empty") => Shape::Empty,
        Some(
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue",
        ) => Shape::Wrapper,
        _ => Shape::Fields,
    }
}
