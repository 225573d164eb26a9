//! `buf.validate` rules as JSON Schema keywords.

use prost_reflect::{DynamicMessage, FieldDescriptor, Value as Proto};
use serde_json::{Map, Value, json};

/// The rules of a field, `buf.validate.field`.
pub(super) fn of(field: &FieldDescriptor) -> Option<DynamicMessage> {
    let pool = field.parent_pool();
    let extension = pool.get_extension_by_name("buf.validate.field")?;
    let options = field.options();
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

pub(super) fn is_required(rules: Option<&DynamicMessage>) -> bool {
    let required =
        rules.and_then(|rules| rules.get_field_by_name("required").map(|v| v.into_owned()));
    required == Some(Proto::Bool(true))
}

/// The keywords for the schema of one value.
pub(super) fn keywords(rules: &DynamicMessage) -> Map<String, Value> {
    let mut out = Map::new();
    for (field, value) in rules.fields() {
        let Some(inner) = value.as_message() else {
            continue;
        };
        match field.name() {
            "string" => text(inner, &mut out),
            "repeated" => list(inner, &mut out),
            "float" | "double" | "int32" | "uint32" | "sint32" | "fixed32" | "sfixed32" => {
                number(inner, &mut out);
            }
            _ => {}
        }
    }
    out
}

/// The rules of each element of a list.
pub(super) fn items(rules: &DynamicMessage) -> Option<DynamicMessage> {
    let repeated = rules.get_field_by_name("repeated")?;
    let repeated = repeated.as_message()?;
    if !repeated.has_field_by_name("items") {
        return None;
    }
    repeated.get_field_by_name("items")?.as_message().cloned()
}

fn set(rules: &DynamicMessage, name: &str) -> Option<Value> {
    if !rules.has_field_by_name(name) {
        return None;
    }
    match rules.get_field_by_name(name)?.as_ref() {
        Proto::String(text) => Some(json!(text)),
        Proto::U64(number) => Some(json!(number)),
        Proto::I32(number) => Some(json!(number)),
        Proto::U32(number) => Some(json!(number)),
        Proto::F64(number) => Some(json!(number)),
        Proto::F32(number) => Some(json!(number)),
        Proto::Bool(flag) => Some(json!(flag)),
        Proto::List(values) => {
            let texts = values.iter().filter_map(|value| value.as_str());
            Some(json!(texts.collect::<Vec<_>>()))
        }
        _ => None,
    }
}

fn copy(rules: &DynamicMessage, names: &[(&str, &str)], out: &mut Map<String, Value>) {
    for (rule, keyword) in names {
        if let Some(value) = set(rules, rule) {
            out.insert((*keyword).to_owned(), value);
        }
    }
}

fn text(rules: &DynamicMessage, out: &mut Map<String, Value>) {
    let names = [
        ("min_len", "minLength"),
        ("max_len", "maxLength"),
        ("pattern", "pattern"),
        ("in", "enum"),
        ("const", "const"),
    ];
    copy(rules, &names, out);
    if let Some(length) = set(rules, "len") {
        out.insert("minLength".to_owned(), length.clone());
        out.insert("maxLength".to_owned(), length);
    }
    for (rule, format) in [
        ("email", "email"),
        ("uuid", "uuid"),
        ("uri", "uri"),
        ("ip", "ip"),
    ] {
        if set(rules, rule) == Some(json!(true)) {
            out.insert("format".to_owned(), json!(format));
        }
    }
}

fn list(rules: &DynamicMessage, out: &mut Map<String, Value>) {
    let names = [
        ("min_items", "minItems"),
        ("max_items", "maxItems"),
        ("unique", "uniqueItems"),
    ];
    copy(rules, &names, out);
}

fn number(rules: &DynamicMessage, out: &mut Map<String, Value>) {
    let names = [
        ("gte", "minimum"),
        ("lte", "maximum"),
        ("gt", "exclusiveMinimum"),
        ("lt", "exclusiveMaximum"),
        ("const", "const"),
    ];
    copy(rules, &names, out);
}
