//! Descriptors compiled into tables that both directions walk without asking a descriptor again.

use std::collections::HashMap;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::wire;

/// Where a message's table is.
pub(crate) type MessageId = u32;

/// The tables of every message and enum in a descriptor pool.
#[derive(Debug)]
pub struct Plans {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, MessageId>,
}

/// How a message is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Fields,
    Empty,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Wrapper,
    Any,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// By field number.
    pub(crate) fields: Vec<Field>,
    by_json: HashMap<String, u16>,
    /// `number -> index + 1` for small numbers; 0 where there is no field.
    dense: Vec<u16>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) json_name: String,
    pub(crate) proto_name: String,
    /// `"jsonName":`, escaped.
    pub(crate) json_key: Vec<u8>,
    pub(crate) ty: Type,
    pub(crate) label: Label,
    /// Unset differs from zero.
    pub(crate) presence: bool,
    pub(crate) oneof: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Singular,
    Repeated { packed: bool },
    Map { key: Type },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(u32),
    Message(MessageId),
}

#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) is_null: bool,
    pub(crate) names: HashMap<i32, String>,
    pub(crate) numbers: HashMap<String, i32>,
}

impl Plans {
    /// Compiles every message of the pool. Proto2 groups have no JSON form and are left out.
    pub fn new(pool: &DescriptorPool) -> Self {
        let descriptors: Vec<MessageDescriptor> = pool.all_messages().collect();
        let by_name: HashMap<String, MessageId> = descriptors
            .iter()
            .enumerate()
            .map(|(id, message)| (message.full_name().to_owned(), id as MessageId))
            .collect();
        let enum_descriptors: Vec<_> = pool.all_enums().collect();
        let enum_ids: HashMap<String, u32> = enum_descriptors
            .iter()
            .enumerate()
            .map(|(id, descriptor)| (descriptor.full_name().to_owned(), id as u32))
            .collect();
        let compiler = Compiler {
            by_name: &by_name,
            enum_ids: &enum_ids,
        };
        let messages = descriptors
            .iter()
            .map(|descriptor| compiler.message(descriptor))
            .collect();
        let enums = enum_descriptors
            .iter()
            .map(|descriptor| {
                let mut names = HashMap::new();
                let mut numbers = HashMap::new();
                for value in descriptor.values() {
                    // The first name of an aliased number is the one that is written.
                    names
                        .entry(value.number())
                        .or_insert_with(|| value.name().to_owned());
                    numbers.insert(value.name().to_owned(), value.number());
                }
                Enum {
                    is_null: descriptor.full_name() == "google.protobuf.NullValue",
                    names,
                    numbers,
                }
            })
            .collect();
        Self {
            messages,
            enums,
            by_name,
        }
    }

    pub(crate) fn id(&self, full_name: &str) -> Option<MessageId> {
        self.by_name.get(full_name).copied()
    }

    pub(crate) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id as usize]
    }

    pub(crate) fn enumeration(&self, id: u32) -> &Enum {
        &self.enums[id as usize]
    }

    /// The message a field holds, where it holds one.
    pub(crate) fn of(&self, ty: Type) -> Option<&Message> {
        match ty {
            Type::Message(id) => Some(self.message(id)),
            _ => None,
        }
    }
}

struct Compiler<'a> {
    by_name: &'a HashMap<String, MessageId>,
    enum_ids: &'a HashMap<String, u32>,
}

impl Compiler<'_> {
    fn message(&self, descriptor: &MessageDescriptor) -> Message {
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

impl Message {
    /// By lowerCamel or original name.
    pub(crate) fn field_by_name(&self, name: &str) -> Option<(usize, &Field)> {
        let index = usize::from(*self.by_json.get(name)?);
        Some((index, &self.fields[index]))
    }

    pub(crate) fn index_by_number(&self, number: u32) -> Option<usize> {
        if number < 256 {
            let index = *self.dense.get(number as usize)?;
            return usize::from(index).checked_sub(1);
        }
        self.fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()
    }

    pub(crate) fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.json_name.as_str())
    }
}

impl Type {
    pub(crate) fn wire_type(self) -> u8 {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => wire::FIXED64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => wire::FIXED32,
            Self::String | Self::Bytes | Self::Message(_) => wire::LEN,
            _ => wire::VARINT,
        }
    }

    /// For error messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Double | Self::Float => "a number",
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => "an integer of 32 bits",
            Self::Uint32 | Self::Fixed32 => "an integer from 0 to 4294967295",
            Self::Int64 | Self::Sint64 | Self::Sfixed64 => "an integer of 64 bits",
            Self::Uint64 | Self::Fixed64 => "an integer from 0 to 18446744073709551615",
            Self::Bool => "true or false",
            Self::String => "a string",
            Self::Bytes => "a base64 string",
            Self::Enum(_) => "an enum value's name",
            Self::Message(_) => "an object",
        }
    }
}
