//! Query parameters as fields.

use std::collections::HashMap;

use super::{
    percent,
    route::{BodyRule, Bound, Route, bind},
};
use crate::{
    Error, Reason, Result,
    error::nearest,
    json::{FromJson, put_scalar_text},
    plan::{Field, Label, Message, MessageId, Plans, Shape, Type},
    wire,
};

/// Appends the fields a query gives. `message` holds what the path gave.
pub(crate) fn put_query(
    plans: &Plans,
    route: &Route,
    query: &str,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut given = Given::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent::decode_query(name)?;
        let at = |error: Error| error.in_field(&name);
        let value = percent::decode_query(value).map_err(at)?;
        parameter(plans, route, &name, &value, &mut given, out).map_err(at)?;
    }
    Ok(())
}

#[derive(Default)]
struct Given {
    singular: HashMap<Vec<u32>, ()>,
    /// The member of a oneof that was given, by the oneof's message and index.
    oneofs: HashMap<(Vec<u32>, u16), u32>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Reason::InvalidParameter, message)
}

fn parameter(
    plans: &Plans,
    route: &Route,
    name: &str,
    value: &str,
    given: &mut Given,
    out: &mut Vec<u8>,
) -> Result<()> {
    if name.starts_with('$') {
        let message = "parameters that start with `$` are reserved";
        return Err(Error::new(Reason::UnknownParameter, message));
    }
    if matches!(route.body, BodyRule::All) {
        let message = "this method takes its fields from the body, not from the query";
        return Err(Error::new(Reason::UnknownParameter, message));
    }
    let (path, key) = match name.split_once('[') {
        Some((path, rest)) => {
            let key = rest
                .strip_suffix(']')
                .ok_or_else(|| invalid("expected `]` at the end"))?;
            (path, Some(key))
        }
        None => (name, None),
    };
    let bound =
        bind(plans, route.input, path).map_err(|problem| unknown(plans, route, path, problem))?;
    let body = route
        .body_field
        .map(|index| plans.message(route.input).fields[index].number);
    if body.is_some() && body == bound.numbers.first().copied() {
        return Err(Error::new(
            Reason::ConflictingValues,
            "is given by the body",
        ));
    }
    let encoded = encode(plans, &bound.field, key, value)?;
    check_path(route, &bound, &encoded)?;
    if bound.field.label == Label::Singular {
        given.once(&bound)?;
        given.one_of(plans, route.input, &bound)?;
    }
    put_bound(&bound, &encoded, out);
    Ok(())
}

impl Given {
    fn once(&mut self, bound: &Bound) -> Result<()> {
        match self.singular.insert(bound.numbers.clone(), ()) {
            None => Ok(()),
            Some(()) => Err(Error::new(Reason::DuplicateField, "given twice")),
        }
    }

    /// Every message on the way may be a member of a oneof too.
    fn one_of(&mut self, plans: &Plans, message: MessageId, bound: &Bound) -> Result<()> {
        let mut plan = plans.message(message);
        for (depth, number) in bound.numbers.iter().enumerate() {
            let Some(index) = plan.index_by_number(*number) else {
                break;
            };
            let field = &plan.fields[index];
            if let Some(oneof) = field.oneof {
                let key = (bound.numbers[..depth].to_vec(), oneof);
                let member = *self.oneofs.entry(key).or_insert(*number);
                if member != *number {
                    let other = plan
                        .index_by_number(member)
                        .map(|index| &plan.fields[index].json_name);
                    let other = other.map_or("another field", String::as_str);
                    let message = format!("cannot be given together with `{other}`");
                    return Err(Error::new(Reason::DuplicateField, message));
                }
            }
            match plans.of(field.ty) {
                Some(next) => plan = next,
                None => break,
            }
        }
        Ok(())
    }
}

/// A parameter may repeat what the path says, not contradict it.
fn check_path(route: &Route, bound: &Bound, encoded: &[u8]) -> Result<()> {
    let by_path = route
        .variables
        .iter()
        .any(|variable| variable.numbers == bound.numbers);
    if by_path && !encoded.is_empty() {
        return Err(Error::new(
            Reason::ConflictingValues,
            "is given by the path",
        ));
    }
    Ok(())
}

fn unknown(plans: &Plans, route: &Route, path: &str, problem: &str) -> Error {
    if problem != "does not exist" {
        return invalid(problem);
    }
    let names = parameters(plans, route);
    let hint = nearest(path, names.iter().map(String::as_str))
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_else(|| match names.as_slice() {
            [] => "; there are none".to_owned(),
            names => format!("; known are {}", names.join(", ")),
        });
    Error::new(
        Reason::UnknownParameter,
        format!("unknown query parameter{hint}"),
    )
}

/// The names a query may give, two messages deep.
pub(crate) fn parameters(plans: &Plans, route: &Route) -> Vec<String> {
    if matches!(route.body, BodyRule::All) {
        return Vec::new();
    }
    let mut names = Vec::new();
    let plan = plans.message(route.input);
    for (index, field) in plan.fields.iter().enumerate() {
        if route.body_field != Some(index) {
            leaves(plans, field, "", 2, &mut names);
        }
    }
    let bound: Vec<&str> = route
        .variables
        .iter()
        .map(|v| v.field.json_name.as_str())
        .collect();
    names.retain(|name| !bound.contains(&name.as_str()));
    names
}

fn leaves(plans: &Plans, field: &Field, prefix: &str, depth: usize, names: &mut Vec<String>) {
    let name = format!("{prefix}{}", field.json_name);
    match plans.of(field.ty) {
        Some(message) if message.shape == Shape::Fields => {
            if field.label == Label::Singular && depth > 0 {
                for inner in &message.fields {
                    leaves(plans, inner, &format!("{name}."), depth - 1, names);
                }
            }
        }
        Some(message) if !has_text(message) => {}
        _ => names.push(name),
    }
}

fn has_text(message: &Message) -> bool {
    matches!(
        message.shape,
        Shape::Timestamp | Shape::Duration | Shape::FieldMask | Shape::Wrapper
    )
}

/// A value with its length where it has one; empty for the zero of a field without presence.
pub(crate) fn encode_text(plans: &Plans, field: &Field, text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 2);
    put_text(plans, field.ty, text, &mut out)?;
    if field.label == Label::Singular && !field.presence && out.iter().all(|byte| *byte == 0) {
        out.clear();
    }
    Ok(out)
}

fn put_text(plans: &Plans, ty: Type, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let Type::Message(id) = ty else {
        return put_scalar_text(plans, ty, text, out);
    };
    let start = wire::begin(out);
    FromJson { plans }.message_text(plans.message(id), text, out)?;
    wire::end(out, start);
    Ok(())
}

fn encode(plans: &Plans, field: &Field, key: Option<&str>, text: &str) -> Result<Vec<u8>> {
    match (field.label, key) {
        (Label::Map { key: key_type }, Some(key)) => {
            let mut out = Vec::new();
            let start = wire::begin(&mut out);
            wire::put_tag(&mut out, 1, key_type.wire_type());
            put_scalar_text(plans, key_type, key, &mut out)?;
            wire::put_tag(&mut out, 2, field.ty.wire_type());
            put_text(plans, field.ty, text, &mut out)?;
            wire::end(&mut out, start);
            Ok(out)
        }
        (Label::Map { .. }, None) => Err(invalid("is a map: write `name[key]=value`")),
        (_, Some(_)) => Err(invalid("is no map")),
        (_, None) => encode_text(plans, field, text),
    }
}

/// Writes an encoded value below the messages that hold it.
pub(crate) fn put_bound(bound: &Bound, encoded: &[u8], out: &mut Vec<u8>) {
    let Some((leaf, outer)) = bound.numbers.split_last() else {
        return;
    };
    let mut starts = Vec::with_capacity(outer.len());
    for number in outer {
        wire::put_tag(out, *number, wire::LEN);
        starts.push(wire::begin(out));
    }
    if !encoded.is_empty() {
        let wire_type = match bound.field.label {
            Label::Map { .. } => wire::LEN,
            _ => bound.field.ty.wire_type(),
        };
        wire::put_tag(out, *leaf, wire_type);
        out.extend_from_slice(encoded);
    }
    for start in starts.into_iter().rev() {
        wire::end(out, start);
    }
}
