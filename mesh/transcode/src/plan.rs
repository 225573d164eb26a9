//! Descriptors compiled into tables that both directions walk without asking a descriptor again.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::wire;

mod compile;

use compile::Compiler;

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
