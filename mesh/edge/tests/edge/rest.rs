//! Unary methods over REST, and errors.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::backend::Shop;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_read_is_a_get_with_json() {
    let shop = Shop::start().await;
    let reply = shop.get("/v1/products?pageSize=2&filter=a%20b").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    assert_eq!(json["products"][1]["name"], "products/1");
    assert_eq!(json["products"][0]["lowestPrice"]["units"], "12");
    assert_eq!(json["nextPageToken"], "a b");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(
        reply
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert!(!reply.header("x-request-id").is_empty());

    let one = shop.get("/v1/products/warm").await.json();
    assert_eq!(one["name"], "products/warm");
}

#[tokio::test]
async fn head_and_options_are_answered() {
    let shop = Shop::start().await;
    let head = shop.send("HEAD", "/v1/products/warm", &[], "").await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    let full = shop.get("/v1/products/warm").await;
    assert_eq!(head.header("content-length"), full.body.len().to_string());
    let options = shop.send("OPTIONS", "/v1/orders", &[], "").await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS, POST");
}

#[tokio::test]
async fn pictures_come_as_they_are() {
    let shop = Shop::start().await;
    let reply = shop.get("/v1/products/warm/picture").await;
    assert_eq!(reply.header("content-type"), "image/svg+xml");
    assert_eq!(reply.text(), "<svg/>");
    assert!(reply.header("cache-control").starts_with("public"));
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let shop = Shop::start().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let session = "/v1/sessions";
    for (method, path, header, body, expected) in [
        (
            "POST",
            session,
            JSON,
            "{\"email\": ",
            "400 INVALID_JSON email",
        ),
        (
            "POST",
            session,
            JSON,
            "{\"mail\": \"a\"}",
            "400 UNKNOWN_FIELD mail",
        ),
        (
            "POST",
            session,
            JSON,
            "{\"email\": 1}",
            "400 WRONG_TYPE email",
        ),
        ("POST", session, JSON, "{} {}", "400 INVALID_JSON"),
        ("POST", session, JSON, "[]", "400 WRONG_TYPE"),
        (
            "POST",
            session,
            form,
            "email=a",
            "415 UNSUPPORTED_CONTENT_TYPE",
        ),
        (
            "POST",
            session,
            ("content-encoding", "gzip"),
            "{}",
            "415 UNSUPPORTED_ENCODING",
        ),
        (
            "GET",
            "/v1/products?pagesize=1",
            JSON,
            "",
            "400 UNKNOWN_PARAMETER pagesize",
        ),
        (
            "GET",
            "/v1/products?pageSize=x",
            JSON,
            "",
            "400 WRONG_TYPE pageSize",
        ),
        ("GET", "/v1/products", JSON, "{}", "400 UNEXPECTED_BODY"),
        ("GET", "/v1/products/%ff", JSON, "", "400 INVALID_PATH"),
        ("GET", "/v1/nothing", JSON, "", "404 UNKNOWN_PATH"),
        ("GET", "/v1/products/", JSON, "", "404 UNKNOWN_PATH"),
        ("DELETE", "/v1/products", JSON, "", "405 METHOD_NOT_ALLOWED"),
        ("GET", "/v1/orders", JSON, "", "401 TOKEN_MISSING"),
        // Internal methods have no REST binding and no gRPC path here.
        (
            "POST",
            "/sockshop.payments.v1.PaymentService/ListLedgerEntries",
            JSON,
            "{}",
            "404 UNKNOWN_PATH",
        ),
    ] {
        let before = shop.seen.calls.load(Ordering::SeqCst);
        let reply = shop.send(method, path, &[header], body).await;
        assert_eq!(
            reply.error(),
            expected,
            "{method} {path} {body}: {}",
            reply.text()
        );
        assert!(!reply.json()["message"].as_str().unwrap().is_empty());
        assert_eq!(
            shop.seen.calls.load(Ordering::SeqCst),
            before,
            "nothing was called"
        );
    }
    let wrong = shop.send("DELETE", "/v1/products", &[], "").await;
    assert_eq!(wrong.header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(
        shop.get("/v1/orders").await.header("www-authenticate"),
        "Bearer realm=\"weft\""
    );
    let hint = shop.send("POST", session, &[form], "email=a").await;
    assert!(hint.text().contains("--json"), "{}", hint.text());
}

#[tokio::test]
async fn errors_of_services_are_http_statuses_with_details() {
    let shop = Shop::start().await;
    let reply = shop.get("/v1/products/none").await;
    assert_eq!(reply.error(), "404 PRODUCT_NOT_FOUND");
    assert_eq!(reply.json()["code"], 5);
    assert_eq!(reply.json()["message"], "there is no products/none");
    assert_eq!(reply.header("retry-after"), "2");
    let reply = shop.send("POST", "/v1/sessions", &[JSON], "{}").await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"weft\"");
    let reply = shop.get("/v1/categories").await;
    assert_eq!(reply.status, 501);
}

#[tokio::test]
async fn what_services_hear_comes_from_the_edge() {
    let shop = Shop::start().await;
    let token = format!("Bearer {}", shop.token());
    let headers = [
        ("authorization", token.as_str()),
        ("x-weft-subject", "customers/eve"),
        ("x-weft-caller", "spiffe://x/y"),
        ("x-forwarded-client-cert", "x"),
        ("x-request-id", "my-id"),
        ("cookie", "a=b"),
        ("grpc-timeout", "3S"),
    ];
    let reply = shop.send("GET", "/v1/orders/1", &headers, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-request-id"), "my-id");
    let seen = shop.seen.metadata.lock().unwrap().clone();
    assert_eq!(seen["x-weft-subject"], "customers/ada");
    assert_eq!(seen["x-request-id"], "my-id");
    assert_eq!(seen["grpc-timeout"], "3S");
    for name in [
        "authorization",
        "cookie",
        "x-weft-caller",
        "x-forwarded-client-cert",
    ] {
        assert!(!seen.contains_key(name), "{name}");
    }
    shop.send(
        "GET",
        "/v1/products",
        &[("x-weft-subject", "customers/eve")],
        "",
    )
    .await;
    assert!(
        !shop
            .seen
            .metadata
            .lock()
            .unwrap()
            .contains_key("x-weft-subject")
    );
}

#[tokio::test]
async fn path_and_body_make_one_message() {
    let shop = Shop::start().await;
    let body = json!({"city": "Berlin"}).to_string();
    let path = "/v1/customers/ada/addresses/home";
    let reply = shop.as_ada("PUT", path, &body).await;
    let expected = json!({"name": "customers/ada/addresses/home", "city": "Berlin"});
    assert_eq!(reply.json(), expected, "{}", reply.status);
    let reply = shop
        .as_ada("PUT", path, "{\"name\": \"customers/eve/addresses/x\"}")
        .await;
    assert_eq!(reply.error(), "400 CONFLICTING_VALUES address.name");
    let reply = shop.as_ada("DELETE", path, "").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "{}"));
}
