//! Path templates as OpenAPI writes them: each parameter is one segment.

use weft_transcode::{Segment, Template};

/// A path and its parameters.
pub(super) struct Path {
    pub(super) text: String,
    pub(super) parameters: Vec<Parameter>,
}

pub(super) struct Parameter {
    pub(super) name: String,
    /// The field it is a part of.
    pub(super) field: String,
    /// Whether it is the whole field.
    pub(super) is_whole: bool,
}

/// `/v1/{name=customers/*/addresses/*}` as `/v1/customers/{customer}/addresses/{address}`.
pub(super) fn openapi(template: &Template) -> Path {
    let mut text = String::new();
    let mut parameters: Vec<Parameter> = Vec::new();
    for (index, segment) in template.segments.iter().enumerate() {
        text.push('/');
        if let Segment::Literal(literal) = segment {
            text.push_str(literal);
            continue;
        }
        let mut variables = template.variables.iter();
        let variable = variables.find(|variable| (variable.start..variable.end).contains(&index));
        let is_whole = variable.is_some_and(|variable| variable.end - variable.start == 1);
        let field = variable.map_or(String::new(), |variable| variable.field.clone());
        let before = index
            .checked_sub(1)
            .map(|before| &template.segments[before]);
        let base = match (is_whole, before) {
            _ if field.is_empty() => "segment".to_owned(),
            (false, Some(Segment::Literal(collection))) => singular(collection),
            _ => field.replace('.', "_"),
        };
        let mut name = base.clone();
        let mut count = 1;
        while parameters.iter().any(|parameter| parameter.name == name) {
            count += 1;
            name = format!("{base}{count}");
        }
        text.push_str(&format!("{{{name}}}"));
        parameters.push(Parameter {
            name,
            field,
            is_whole,
        });
    }
    if let Some(verb) = &template.verb {
        text.push(':');
        text.push_str(verb);
    }
    Path { text, parameters }
}

/// `addresses` as `address`, `categories` as `category`, `orders` as `order`.
fn singular(collection: &str) -> String {
    for (plural, singular) in [("ies", "y"), ("sses", "ss"), ("s", "")] {
        if let Some(stem) = collection.strip_suffix(plural) {
            return format!("{stem}{singular}");
        }
    }
    collection.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_one_parameter_a_segment() {
        for (template, expected) in [
            ("/v1/orders", "/v1/orders"),
            ("/v1/orders/{id}", "/v1/orders/{id}"),
            ("/v1/{name=orders/*}:watch", "/v1/orders/{order}:watch"),
            (
                "/v1/{address.name=customers/*/addresses/*}",
                "/v1/customers/{customer}/addresses/{address}",
            ),
            (
                "/v1/{parent=categories/*}/socks",
                "/v1/categories/{category}/socks",
            ),
            ("/v1/{name=files/**}", "/v1/files/{file}"),
            ("/v1/*/{a}", "/v1/{segment}/{a}"),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(openapi(&template).text, expected);
        }
    }
}
