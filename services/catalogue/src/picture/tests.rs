use super::*;

fn pattern(json: &str) -> Result<Pattern, serde_json::Error> {
    serde_json::from_str(json)
}

fn every_product() -> Vec<(String, Pattern)> {
    let data: serde_json::Value =
        serde_json::from_str(include_str!("../../data/products.json")).unwrap();
    let products = data["products"].as_array().unwrap();
    let read = |product: &serde_json::Value| {
        let spec = serde_json::from_value(product["pattern"].clone()).unwrap();
        (product["id"].as_str().unwrap().to_owned(), spec)
    };
    products.iter().map(read).collect()
}

#[test]
fn every_picture_is_small_and_closed() {
    for (id, spec) in every_product() {
        let picture = svg(&spec);
        assert!(picture.len() < 6000, "{id}: {} bytes", picture.len());
        assert!(picture.starts_with("<svg xmlns="), "{id}");
        assert!(picture.ends_with("</svg>"), "{id}");
        for element in ["g", "svg", "defs", "pattern", "clipPath", "linearGradient"] {
            let opened = picture.matches(&format!("<{element} ")).count()
                + picture.matches(&format!("<{element}>")).count();
            let closed = picture.matches(&format!("</{element}>")).count();
            assert_eq!(opened, closed, "{id}: <{element}>");
        }
    }
}

#[test]
fn every_style_looks_different() {
    let mut pictures: Vec<String> = every_product().iter().map(|(_, spec)| svg(spec)).collect();
    let products = pictures.len();
    pictures.sort();
    pictures.dedup();
    assert_eq!(pictures.len(), products);
}

#[test]
fn picture_has_the_colors_of_the_pattern() {
    let spec = pattern(r##"{"style":"dots","colors":["#102030","#405060","#708090"]}"##).unwrap();
    let picture = svg(&spec);
    for color in ["#102030", "#405060", "#708090"] {
        assert!(picture.contains(color), "{color}");
    }
}

#[test]
fn missing_colors_have_a_default() {
    let spec = pattern(r#"{"style":"argyle","colors":[]}"#).unwrap();
    assert!(svg(&spec).contains("#f6ecd9"));
}

#[test]
fn markup_cannot_enter_as_a_color() {
    for text in [
        "\"/><script>",
        "#12345",
        "#12345g",
        "#+1+2+3",
        "red",
        "",
        "#ééé",
    ] {
        assert_eq!(
            Color::try_from(text.to_owned()),
            Err(NotAColor(text.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn unknown_style_or_key_is_refused() {
    assert!(pattern(r#"{"style":"plaid","colors":[]}"#).is_err());
    assert!(pattern(r#"{"style":"dots","colors":[],"size":3}"#).is_err());
}

#[test]
fn color_survives_json() {
    let color = Color::try_from("#DFA32D".to_owned()).unwrap();
    assert_eq!(serde_json::to_string(&color).unwrap(), r##""#dfa32d""##);
}
