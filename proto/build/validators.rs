//! Writes `impl Validate` for every message with `buf.validate` rules. A rule this generator does
//! not know fails the build, so that no rule is ever silently ignored.

use std::{collections::BTreeSet, fmt::Write};

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};

type Error = Box<dyn std::error::Error>;

/// The validators of all messages of `pool`, as Rust source to include beside the messages.
pub fn generate(pool: &DescriptorPool) -> Result<String, Error> {
    let ruled = messages_with_rules(pool)?;
    let mut code = String::new();
    for message in pool
        .all_messages()
        .filter(|message| ruled.contains(message.full_name()))
    {
        let mut body = String::new();
        for oneof in message.oneofs() {
            if option(&oneof.options(), pool, "buf.validate.oneof")?.is_some() {
                let name = oneof.name();
                writeln!(
                    body,
                    "check::required(at, {name:?}, self.{name}.is_some(), found);"
                )?;
            }
        }
        for field in message.fields() {
            body.push_str(&field_checks(pool, &field, &ruled)?);
        }
        writeln!(
            code,
            "impl crate::Validate for {} {{\n fn check(&self, at: &check::At<'_>, found: &mut Vec<crate::Violation>) {{\n{body} }}\n}}",
            rust_path(&message)
        )?;
    }
    Ok(format!("use crate::validate as check;\n{code}"))
}

/// Messages that hold rules themselves or in a message below them.
fn messages_with_rules(pool: &DescriptorPool) -> Result<BTreeSet<String>, Error> {
    let mut ruled = BTreeSet::new();
    loop {
        let before = ruled.len();
        for message in pool.all_messages().filter(|message| !vendored(message)) {
            let mut has = false;
            for field in message.fields() {
                has |= option(&field.options(), pool, "buf.validate.field")?.is_some()
                    || matches!(field.kind(), Kind::Message(inner) if ruled.contains(inner.full_name()));
            }
            for oneof in message.oneofs() {
                has |= option(&oneof.options(), pool, "buf.validate.oneof")?.is_some();
            }
            if has {
                ruled.insert(message.full_name().to_owned());
            }
        }
        if ruled.len() == before {
            return Ok(ruled);
        }
    }
}

fn vendored(message: &MessageDescriptor) -> bool {
    ["google.", "buf.", "istio."]
        .iter()
        .any(|area| message.full_name().starts_with(area))
}

fn field_checks(
    pool: &DescriptorPool,
    field: &FieldDescriptor,
    ruled: &BTreeSet<String>,
) -> Result<String, Error> {
    let mut code = String::new();
    let name = field.name();
    let member = if name == "type" { "r#type" } else { name };
    let rules = option(&field.options(), pool, "buf.validate.field")?;
    let mut required = false;
    let mut value_checks = String::new();
    if let Some(rules) = &rules {
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("required", Value::Bool(on)) => required = *on,
                ("repeated", Value::Message(repeated)) => {
                    code.push_str(&repeated_checks(field, member, repeated)?);
                }
                (kind, Value::Message(checks)) => {
                    value_checks.push_str(&scalar_checks(field, kind, checks)?);
                }
                (other, _) => return Err(unknown(field, other)),
            }
        }
    }
    if let Kind::Message(inner) = field.kind()
        && ruled.contains(inner.full_name())
    {
        value_checks.push_str("crate::Validate::check(value, &at, found);\n");
    }
    let at = format!("let at = at.field({name:?});");
    if field.is_list() {
        if !value_checks.is_empty() {
            writeln!(
                code,
                "for (index, value) in self.{member}.iter().enumerate() {{ let at = at.item({name:?}, index);\n{value_checks} }}"
            )?;
        }
    } else if let Some(oneof) = field.containing_oneof() {
        if !value_checks.is_empty() {
            let variant = format!(
                "{}::{}::{}",
                module_path(field.parent_message()),
                snake(field.parent_message().name()) + "::" + &camel(oneof.name()),
                camel(name)
            );
            writeln!(
                code,
                "if let Some({variant}(value)) = &self.{} {{ {at}\n{value_checks} }}",
                oneof.name()
            )?;
        }
    } else if field.supports_presence() {
        if required {
            writeln!(
                code,
                "check::required(at, {name:?}, self.{member}.is_some(), found);"
            )?;
        }
        if !value_checks.is_empty() {
            writeln!(
                code,
                "if let Some(value) = &self.{member} {{ {at}\n{value_checks} }}"
            )?;
        }
    } else {
        if required {
            return Err(unknown(field, "required on a field without presence"));
        }
        if !value_checks.is_empty() {
            writeln!(
                code,
                "{{ let value = &self.{member}; {at}\n{value_checks} }}"
            )?;
        }
    }
    Ok(code)
}

fn repeated_checks(
    field: &FieldDescriptor,
    member: &str,
    rules: &DynamicMessage,
) -> Result<String, Error> {
    let name = field.name();
    let mut code = String::new();
    for (rule, value) in rules.fields() {
        match (rule.name(), value) {
            ("min_items", Value::U64(count)) => writeln!(
                code,
                "check::min_items(at, {name:?}, self.{member}.len(), {count}, found);"
            )?,
            ("max_items", Value::U64(count)) => writeln!(
                code,
                "check::max_items(at, {name:?}, self.{member}.len(), {count}, found);"
            )?,
            ("items", Value::Message(items)) => {
                for (kind, checks) in items.fields() {
                    let Value::Message(checks) = checks else {
                        return Err(unknown(field, kind.name()));
                    };
                    let checks = scalar_checks(field, kind.name(), checks)?;
                    writeln!(
                        code,
                        "for (index, value) in self.{member}.iter().enumerate() {{ let at = at.item({name:?}, index);\n{checks} }}"
                    )?;
                }
            }
            (other, _) => return Err(unknown(field, other)),
        }
    }
    Ok(code)
}

fn scalar_checks(
    field: &FieldDescriptor,
    kind: &str,
    rules: &DynamicMessage,
) -> Result<String, Error> {
    let mut code = String::new();
    for (rule, value) in rules.fields() {
        match (kind, rule.name(), value) {
            ("string", "min_len", Value::U64(n)) => {
                writeln!(code, "check::min_len(&at, value, {n}, found);")?;
            }
            ("string", "max_len", Value::U64(n)) => {
                writeln!(code, "check::max_len(&at, value, {n}, found);")?;
            }
            ("string", "prefix", Value::String(text)) => {
                writeln!(code, "check::prefix(&at, value, {text:?}, found);")?;
            }
            ("string", "pattern", Value::String(text)) => writeln!(
                code,
                "{{ static PATTERN: check::Pattern = check::Pattern::new({text:?}); PATTERN.check(&at, value, found); }}"
            )?,
            ("string", "uuid", Value::Bool(true)) => {
                writeln!(code, "check::uuid(&at, value, found);")?;
            }
            ("string", "email", Value::Bool(true)) => {
                writeln!(code, "check::email(&at, value, found);")?;
            }
            ("int32" | "int64" | "uint32", "gte", bound) => {
                let n = number(bound).ok_or_else(|| unknown(field, kind))?;
                writeln!(code, "check::at_least(&at, *value, {n}, found);")?;
            }
            ("int32" | "int64" | "uint32", "lte", bound) => {
                let n = number(bound).ok_or_else(|| unknown(field, kind))?;
                writeln!(code, "check::at_most(&at, *value, {n}, found);")?;
            }
            ("int32" | "int64" | "uint32", "not_in", Value::List(values)) => {
                let values: Vec<_> = values.iter().filter_map(number).collect();
                writeln!(code, "check::not_in(&at, *value, &{values:?}, found);")?;
            }
            ("duration", "gte", Value::Message(duration)) => {
                let (seconds, nanos) = duration_parts(duration);
                writeln!(
                    code,
                    "check::longer(&at, value, ({seconds}, {nanos}), found);"
                )?;
            }
            ("duration", "lte", Value::Message(duration)) => {
                let (seconds, nanos) = duration_parts(duration);
                writeln!(
                    code,
                    "check::shorter(&at, value, ({seconds}, {nanos}), found);"
                )?;
            }
            (_, other, _) => return Err(unknown(field, &format!("{kind}.{other}"))),
        }
    }
    Ok(code)
}

fn number(value: &Value) -> Option<i64> {
    value
        .as_i32()
        .map(i64::from)
        .or(value.as_i64())
        .or(value.as_u32().map(i64::from))
}

fn duration_parts(duration: &DynamicMessage) -> (i64, i32) {
    let part = |name| {
        duration
            .get_field_by_name(name)
            .map(|value| value.into_owned())
    };
    (
        part("seconds")
            .and_then(|value| value.as_i64())
            .unwrap_or(0),
        part("nanos").and_then(|value| value.as_i32()).unwrap_or(0),
    )
}

/// The message value of an option, where it is set.
fn option(
    options: &DynamicMessage,
    pool: &DescriptorPool,
    name: &str,
) -> Result<Option<DynamicMessage>, Error> {
    let extension = pool
        .all_extensions()
        .find(|extension| extension.full_name() == name)
        .ok_or_else(|| format!("option `{name}` is not among the contracts"))?;
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    Ok(options.get_extension(&extension).as_message().cloned())
}

fn unknown(field: &FieldDescriptor, rule: &str) -> Error {
    format!(
        "{}: no validator for rule `{rule}`: add it to build/validators.rs",
        field.full_name()
    )
    .into()
}

fn module_path(message: &MessageDescriptor) -> String {
    message.package_name().replace('.', "::")
}

fn rust_path(message: &MessageDescriptor) -> String {
    format!("{}::{}", module_path(message), message.name())
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect::<String>()
            })
        })
        .collect()
}
