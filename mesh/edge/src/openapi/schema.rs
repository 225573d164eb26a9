//! Messages and enums as JSON Schema.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Value as Proto};
use serde_json::{Map, Value, json};

use super::{Comments, rules};

/// The schemas a document refers to, made as they are needed.
#[derive(Default)]
pub(super) struct Schemas {
    made: BTreeMap<String, Value>,
    files: HashMap<String, Comments>,
}

impl Schemas {
    pub(super) fn finish(self) -> Value {
        json!(self.made)
    }

    pub(super) fn comments(&mut self, file: &FileDescriptor) -> &Comments {
        self.files
            .entry(file.name().to_owned())
            .or_insert_with(|| Comments::new(file))
    }

    pub(super) fn description(&mut self, field: &FieldDescriptor) -> String {
        let file = field.parent_message().parent_file();
        self.comments(&file).of(field.path())
    }

    /// Whether a caller must give the field.
    pub(super) fn is_required(&self, field: &FieldDescriptor) -> bool {
        behaviours(field).contains(&REQUIRED) || rules::is_required(rules::of(field).as_ref())
    }

    /// The schema of errors.
    pub(super) fn status(&mut self) -> Value {
        let name = "google.rpc.Status";
        self.made.entry(name.to_owned()).or_insert_with(|| {
            json!({
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"type": "integer", "description": "The gRPC status code."},
                    "message": {"type": "string", "description": "For developers, in English."},
                    "details": {
                        "type": "array",
                        "description": "google.rpc.ErrorInfo with `reason`, `domain` and `metadata`; \
                            google.rpc.BadRequest with `fieldViolations`; google.rpc.RetryInfo.",
                        "items": {
                            "type": "object",
                            "required": ["@type"],
                            "properties": {"@type": {"type": "string"}},
                            "additionalProperties": true,
                        },
                    },
                },
            })
        });
        reference(name)
    }

    /// A message, by reference where it has a schema of its own.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        let name = message.full_name().to_owned();
        if !self.made.contains_key(&name) {
            // Entered before its fields are looked at: messages may hold themselves.
            self.made.insert(name.clone(), Value::Null);
            let schema = self.object(message, &[]);
            self.made.insert(name.clone(), schema);
        }
        reference(&name)
    }

    /// A message without the top-level fields that are given elsewhere.
    pub(super) fn message_without(&mut self, message: &MessageDescriptor, bound: &[&str]) -> Value {
        let top: Vec<&str> = bound
            .iter()
            .copied()
            .filter(|name| !name.contains('.'))
            .collect();
        if top.is_empty() {
            return self.message(message);
        }
        self.object(message, &top)
    }

    fn object(&mut self, message: &MessageDescriptor, except: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message
            .fields()
            .filter(|field| !except.contains(&field.name()))
        {
            let mut schema = self.field(&field);
            let description = self.description(&field);
            let behaviours = behaviours(&field);
            if !description.is_empty() {
                schema["description"] = json!(description);
            }
            if behaviours.contains(&OUTPUT_ONLY) {
                schema["readOnly"] = json!(true);
            }
            if behaviours.contains(&INPUT_ONLY) {
                schema["writeOnly"] = json!(true);
            }
            if self.is_required(&field) {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let file = message.parent_file();
        let description = self.comments(&file).of(message.path());
        let mut schema = json!({"type": "object", "properties": properties});
        if !description.is_empty() {
            schema["description"] = json!(description);
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    /// The schema of a field's value, with its rules.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        let rules = rules::of(field);
        let keywords = rules.as_ref().map(rules::keywords).unwrap_or_default();
        let kind = field.kind();
        if field.is_map() {
            let Kind::Message(entry) = kind else {
                return json!({"type": "object"});
            };
            let value = self.kind(&entry.map_entry_value_field().kind());
            return json!({"type": "object", "additionalProperties": value});
        }
        let mut schema = self.kind(&kind);
        if field.is_list() {
            let items = rules.as_ref().and_then(rules::items);
            extend(
                &mut schema,
                items.as_ref().map(rules::keywords).unwrap_or_default(),
            );
            schema = json!({"type": "array", "items": schema});
        }
        extend(&mut schema, keywords);
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double | Kind::Float => json!({"type": "number"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "format": "int32"})
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64"})
            }
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Message(message) => self.message(message),
            Kind::Enum(descriptor) => {
                let name = descriptor.full_name().to_owned();
                if !self.made.contains_key(&name) {
                    let file = descriptor.parent_file();
                    let comments = self.comments(&file);
                    let description = comments.of(descriptor.path());
                    // Zero is never sent.
                    let values: Vec<_> = descriptor.values().filter(|v| v.number() != 0).collect();
                    let meanings: Vec<String> = values
                        .iter()
                        .map(|value| format!("`{}`: {}", value.name(), comments.of(value.path())))
                        .collect();
                    let names: Vec<&str> = values.iter().map(|value| value.name()).collect();
                    let schema = json!({
                        "type": "string",
                        "enum": names,
                        "description": format!("{description}\n\n{}", meanings.join("\n\n")),
                    });
                    self.made.insert(name.clone(), schema);
                }
                reference(&name)
            }
        }
    }
}

const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;
const INPUT_ONLY: i32 = 4;

/// `google.api.field_behavior`.
fn behaviours(field: &FieldDescriptor) -> Vec<i32> {
    let pool = field.parent_pool();
    let Some(extension) = pool.get_extension_by_name("google.api.field_behavior") else {
        return Vec::new();
    };
    match field.options().get_extension(&extension).as_ref() {
        Proto::List(values) => values.iter().filter_map(Proto::as_enum_number).collect(),
        _ => Vec::new(),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn extend(schema: &mut Value, keywords: Map<String, Value>) {
    if let Value::Object(schema) = schema {
        schema.extend(keywords);
    }
}

/// Messages with a JSON form of their own.
fn well_known(name: &str) -> Option<Value> {
    if name == "google.api.HttpBody" {
        return Some(json!({"type": "string", "format": "binary"}));
    }
    let schema = match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "FieldMask" => json!({"type": "string"}),
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "Value" => json!({}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Empty" => json!({"type": "object"}),
        "Any" => json!({
            "type": "object",
            "required": ["@type"],
            "properties": {"@type": {"type": "string"}},
            "additionalProperties": true,
        }),
        "DoubleValue" | "FloatValue" => json!({"type": "number"}),
        "Int32Value" | "UInt32Value" => json!({"type": "integer"}),
        "Int64Value" | "UInt64Value" | "StringValue" => json!({"type": "string"}),
        "BoolValue" => json!({"type": "boolean"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        _ => return None,
    };
    Some(schema)
}
