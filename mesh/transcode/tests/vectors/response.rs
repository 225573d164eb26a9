//! Response bodies.

use http::Method;
use weft_transcode::Payload;

use crate::FIXTURE;

fn response(method: Method, path: &str, json: &str) -> String {
    let found = FIXTURE.router.find(&method, path).unwrap();
    let name = found.route.method.output().full_name().to_owned();
    let wire = FIXTURE.plans.from_json(&name, json.as_bytes()).unwrap();
    match found.route.response(&FIXTURE.plans, &wire).unwrap() {
        Payload::Json(json) => String::from_utf8(json).unwrap(),
        Payload::Raw { content_type, data } => {
            format!("{content_type}: {}", String::from_utf8(data).unwrap())
        }
    }
}

#[test]
fn responses_follow_the_rule() {
    let get = Method::GET;
    assert_eq!(
        response(get.clone(), "/v1/books", r#"{"books":[{"name":"n"}]}"#),
        r#"{"books":[{"name":"n"}]}"#
    );
    assert_eq!(
        response(
            Method::POST,
            "/v1/shelves/1/books",
            r#"{"book":{"name":"n"}}"#
        ),
        r#"{"name":"n"}"#
    );
    assert_eq!(response(Method::POST, "/v1/shelves/1/books", "{}"), "{}");
    assert_eq!(
        response(
            get.clone(),
            "/v1/shelves/1/titles",
            r#"{"titles":["a","b"]}"#
        ),
        r#"["a","b"]"#
    );
    assert_eq!(response(get.clone(), "/v1/shelves/1/titles", "{}"), "[]");
    assert_eq!(
        response(Method::DELETE, "/v1/shelves/1/books/1", "{}"),
        "{}"
    );
    let body = r#"{"contentType":"text/plain","data":"aGk="}"#;
    assert_eq!(response(get, "/v1/files/x", body), "text/plain: hi");
}
