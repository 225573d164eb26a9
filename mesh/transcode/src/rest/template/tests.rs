use super::*;

/// Segments as text, variables as `field:start-end`, the verb.
fn shown(text: &str) -> Result<(String, String, Option<String>), TemplateError> {
    let template = Template::parse(text)?;
    let segments: Vec<String> = template
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::One => "*".to_owned(),
            Segment::Rest => "**".to_owned(),
        })
        .collect();
    let variables: Vec<String> = template
        .variables
        .iter()
        .map(|variable| format!("{}:{}-{}", variable.field, variable.start, variable.end))
        .collect();
    Ok((segments.join("|"), variables.join(","), template.verb))
}

#[test]
fn valid_templates_parse() {
    for (text, segments, variables, verb) in [
        ("/v1", "v1", "", None),
        ("/v1/orders", "v1|orders", "", None),
        ("/*", "*", "", None),
        ("/**", "**", "", None),
        ("/v1/*/b", "v1|*|b", "", None),
        ("/v1/**", "v1|**", "", None),
        ("/v1/{id}", "v1|*", "id:1-2", None),
        ("/v1/{id=*}", "v1|*", "id:1-2", None),
        ("/v1/{path=**}", "v1|**", "path:1-2", None),
        ("/v1/{name=orders/*}", "v1|orders|*", "name:1-3", None),
        (
            "/v1/{name=orders/*/lines/*}",
            "v1|orders|*|lines|*",
            "name:1-5",
            None,
        ),
        ("/v1/{name=files/**}", "v1|files|**", "name:1-3", None),
        (
            "/v1/{order.name=orders/*}",
            "v1|orders|*",
            "order.name:1-3",
            None,
        ),
        ("/v1/{a}/{b}", "v1|*|*", "a:1-2,b:2-3", None),
        ("/v1/{a_b1}", "v1|*", "a_b1:1-2", None),
        ("/v1/orders:cancel", "v1|orders", "", Some("cancel")),
        ("/v1/{id}:cancel", "v1|*", "id:1-2", Some("cancel")),
        (
            "/v1/{name=orders/*}:cancel",
            "v1|orders|*",
            "name:1-3",
            Some("cancel"),
        ),
        ("/v1/**:watch", "v1|**", "", Some("watch")),
        ("/v1/{p=**}:watch", "v1|**", "p:1-2", Some("watch")),
        ("/v1/a-b_c.d~e", "v1|a-b_c.d~e", "", None),
        ("/v1/a%20b", "v1|a b", "", None),
        ("/{kind=literal}", "literal", "kind:0-1", None),
        ("/.well-known/jwks.json", ".well-known|jwks.json", "", None),
        ("/$batch", "$batch", "", None),
    ] {
        let verb = verb.map(str::to_owned);
        let expected = (segments.to_owned(), variables.to_owned(), verb);
        assert_eq!(shown(text), Ok(expected), "{text}");
    }
}

#[test]
fn broken_templates_name_the_column() {
    for (text, column) in [
        ("", 1),
        ("v1", 1),
        ("/", 2),
        ("//", 2),
        ("/v1/", 5),
        ("/v1//a", 5),
        ("/v1/{", 6),
        ("/v1/{}", 6),
        ("/v1/{1a}", 6),
        ("/v1/{a", 7),
        ("/v1/{a=", 8),
        ("/v1/{a=}", 8),
        ("/v1/{a.}", 8),
        ("/v1/{.a}", 6),
        ("/v1/{a={b}}", 8),
        ("/v1/{a={b=*}}", 8),
        ("/v1/{a}{b}", 8),
        ("/v1/x{a}", 6),
        ("/v1/{a}x", 8),
        ("/v1/**/a", 8),
        ("/v1/{a=**}/b", 12),
        ("/v1/{a=**/b}", 11),
        ("/v1/***", 7),
        ("/v1/*x", 6),
        ("/v1/a:", 7),
        ("/v1/a:b/c", 8),
        ("/v1/a:b:c", 8),
        ("/v1:v/{a}", 6),
        ("/v1/{a}/{a}", 11),
        ("/v1/a b", 6),
        ("/v1/ä", 5),
        ("/v1/%zz", 5),
        ("/v1/a?b=c", 6),
        ("/v1/{a b}", 7),
        ("/v1/{a-b}", 7),
    ] {
        let error = shown(text).expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
    }
}
