//! The `update_mask` of a PATCH that gives none: what its body holds.

use crate::{
    Result,
    json::{Found, Reader},
    plan::{Label, Message, Plans, Shape},
};

/// Paths of the leaves a JSON object gives, in their original names. Null counts as given. Lists,
/// maps and messages with a form of their own are leaves.
pub(crate) fn presence(plans: &Plans, message: &Message, body: &[u8]) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    walk(plans, message, &mut Reader::new(body)?, "", &mut paths)?;
    Ok(paths)
}

fn walk(
    plans: &Plans,
    message: &Message,
    reader: &mut Reader<'_>,
    prefix: &str,
    paths: &mut Vec<String>,
) -> Result<()> {
    reader.object(|reader, key| {
        // The body was read before: its fields exist.
        let Some((_, field)) = message.field_by_name(&key) else {
            return reader.raw().map(drop);
        };
        let path = format!("{prefix}{}", field.proto_name);
        let inner = plans
            .of(field.ty)
            .filter(|inner| inner.shape == Shape::Fields && field.label == Label::Singular);
        match inner {
            Some(inner) if reader.peek()? == Found::Object => {
                let before = paths.len();
                walk(plans, inner, reader, &format!("{path}."), paths)?;
                if paths.len() == before {
                    paths.push(path);
                }
                Ok(())
            }
            _ => {
                paths.push(path);
                reader.raw().map(drop)
            }
        }
    })
}
