//! Bad input at the edge gets a precise 4xx, and nothing changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::{Shop, http::send, order};
use http::Method;
use serde_json::json;
use uuid::Uuid;

const JSON: Option<&str> = Some("application/json");

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

#[tokio::test]
async fn broken_json_is_named() {
    let shop = Shop::shared().await;
    let reply = send(
        shop.edge(),
        Method::POST,
        "/v1/sessions",
        None,
        JSON,
        "{\"email\": ",
    )
    .await
    .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.json()["code"], 3);
    assert!(!reply.reason().is_empty(), "{}", reply.text());
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let mut request = order(
        &customer,
        &request_id(),
        "products/a/variants/b",
        1,
        "cardTokens/x",
    );
    request["order"]["prise"] = json!(1);
    let reply = shop
        .post("/v1/orders", Some(&customer.token), &request)
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("order.prise"), "{}", reply.text());
}

#[tokio::test]
async fn a_wrong_type_and_a_broken_rule_are_named() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let mut request = order(
        &customer,
        &request_id(),
        "products/a/variants/b",
        1,
        "cardTokens/x",
    );
    request["order"]["lines"][0]["quantity"] = json!("many");
    let reply = shop
        .post("/v1/orders", Some(&customer.token), &request)
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(
        reply.text().contains("lines[0].quantity"),
        "{}",
        reply.text()
    );

    request["order"]["lines"][0]["quantity"] = json!(0);
    let reply = shop
        .post("/v1/orders", Some(&customer.token), &request)
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(
        reply.fields(),
        ["order.lines[0].quantity"],
        "{}",
        reply.text()
    );
    let orders = shop
        .get("/v1/orders", Some(&customer.token))
        .await
        .unwrap()
        .json();
    assert_eq!(orders.get("orders"), None, "nothing was stored: {orders}");
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let shop = Shop::shared().await;
    let body = format!("{{\"email\": \"{}\"}}", "a".repeat(10 << 20));
    // The edge may answer and close before it has read everything; both are a refusal.
    if let Ok(reply) = send(shop.edge(), Method::POST, "/v1/sessions", None, JSON, body).await {
        assert_eq!(reply.status, 413, "{}", reply.text());
    }
    assert_eq!(shop.get("/v1/categories", None).await.unwrap().status, 200);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_apart() {
    let shop = Shop::shared().await;
    let unknown = shop.get("/v1/nothing", None).await.unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert_eq!(unknown.json()["code"], 5);
    let wrong = send(shop.edge(), Method::DELETE, "/v1/products", None, None, "")
        .await
        .unwrap();
    assert_eq!(wrong.status, 405, "{}", wrong.text());
    assert!(wrong.headers["allow"].to_str().unwrap().contains("GET"));
    let missing = shop.get("/v1/products/no-such-sock", None).await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(missing.reason(), "PRODUCT_NOT_FOUND");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_so() {
    let shop = Shop::shared().await;
    let form = Some("application/x-www-form-urlencoded");
    let reply = send(
        shop.edge(),
        Method::POST,
        "/v1/sessions",
        None,
        form,
        "email=a",
    )
    .await
    .unwrap();
    assert_eq!(reply.status, 415, "{}", reply.text());
}

#[tokio::test]
async fn missing_and_forged_tokens_are_refused() {
    let shop = Shop::shared().await;
    let missing = shop.get("/v1/orders", None).await.unwrap();
    assert_eq!(missing.status, 401, "{}", missing.text());
    assert!(missing.headers.contains_key("www-authenticate"));
    let customer = shop.customer().await.unwrap();
    // The first character of the signature: the last one has bits that base64 ignores.
    let (body, signature) = customer.token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{body}.{first}{}", &signature[1..]);
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjdXN0b21lcnMvMSJ9.";
    for token in [forged.as_str(), none, "x"] {
        let reply = shop.get("/v1/orders", Some(token)).await.unwrap();
        assert_eq!(reply.status, 401, "{token}: {}", reply.text());
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_not_found() {
    let shop = Shop::shared().await;
    let (ada, eve) = (
        shop.customer().await.unwrap(),
        shop.customer().await.unwrap(),
    );
    let variant = shop.variant(11, 2).await.unwrap();
    let placed = shop
        .place(&ada, &request_id(), &variant, 1, "cardTokens/test-succeeds")
        .await
        .unwrap();
    assert_eq!(placed.status, 200, "{}", placed.text());
    let name = placed.json()["name"].as_str().unwrap().to_owned();
    let foreign = shop
        .get(&format!("/v1/{name}"), Some(&eve.token))
        .await
        .unwrap();
    assert_eq!(foreign.status, 404, "{}", foreign.text());
    assert_eq!(foreign.reason(), "ORDER_NOT_FOUND");
    let watch = shop
        .get(&format!("/v1/{name}:watch"), Some(&eve.token))
        .await
        .unwrap();
    assert_eq!(watch.status, 404, "{}", watch.text());
    let addresses = shop
        .get(&format!("/v1/{}/addresses", ada.name), Some(&eve.token))
        .await
        .unwrap();
    assert_eq!(addresses.status, 404, "{}", addresses.text());
}

#[tokio::test]
async fn identity_headers_from_outside_mean_nothing() {
    let shop = Shop::shared().await;
    let ada = shop.customer().await.unwrap();
    let request = http::Request::builder()
        .uri("/v1/orders")
        .header("host", "shop.test")
        .header("x-weft-subject", ada.name.as_str())
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let stream = tokio::net::TcpStream::connect(shop.edge()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(request).await.unwrap().status(), 401);
}

#[tokio::test]
async fn internal_methods_are_not_served() {
    let shop = Shop::shared().await;
    for path in [
        "/sockshop.payments.v1.PaymentService/ListLedgerEntries",
        "/sockshop.inventory.v1.InventoryService/AdjustStock",
        "/weft.events.v1.EventService/StreamEvents",
    ] {
        let channel = tonic::transport::Channel::from_shared(format!("http://{}", shop.edge()))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let status = grpc
            .unary::<(), (), _>(
                tonic::Request::new(()),
                path.parse().unwrap(),
                tonic_prost::ProstCodec::default(),
            )
            .await
            .unwrap_err();
        assert_eq!(
            status.code(),
            tonic::Code::Unimplemented,
            "{path}: {status}"
        );
    }
}
