//! `/openapi.json` and `/docs`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::backend::Shop;

async fn document(shop: &Shop) -> Value {
    let reply = shop.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            found.push((verb.clone(), path.clone(), operation.clone()));
        }
    }
    found
}

#[tokio::test]
async fn it_lists_exactly_what_answers() {
    let shop = Shop::start().await;
    let document = document(&shop).await;
    let operations = operations(&document);
    let listed: BTreeSet<String> = operations
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "AccountService_CreateAddress",
        "AccountService_CreateSession",
        "AccountService_DeleteAddress",
        "AccountService_GetCustomer",
        "AccountService_GetKeys",
        "AccountService_ListAddresses",
        "AccountService_RegisterCustomer",
        "AccountService_UpdateAddress",
        "CatalogueService_BatchGetVariants",
        "CatalogueService_GetPicture",
        "CatalogueService_GetProduct",
        "CatalogueService_ListCategories",
        "CatalogueService_ListProducts",
        "OrderService_GetOrder",
        "OrderService_ListOrders",
        "OrderService_PlaceOrder",
        "OrderService_WatchOrder",
    ];
    assert_eq!(listed, expected.map(str::to_owned).into_iter().collect());
    assert_eq!(listed.len(), operations.len(), "no operation id twice");
    for (verb, path, operation) in &operations {
        let url: String = path
            .split('/')
            .map(|part| match part.split_once('}') {
                Some((_, verb)) => format!("none{verb}"),
                None => part.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("/");
        let reply = shop.send(&verb.to_uppercase(), &url, &[], "").await;
        let error = if reply.status.is_client_error() {
            reply.error()
        } else {
            String::new()
        };
        assert!(
            !error.contains("UNKNOWN_PATH") && !error.contains("METHOD_NOT_ALLOWED"),
            "{url}"
        );
        let needs_token = !operation["security"].as_array().unwrap().is_empty();
        assert_eq!(error == "401 TOKEN_MISSING", needs_token, "{verb} {url}");
    }
}

#[tokio::test]
async fn it_is_whole_and_says_what_the_contracts_say() {
    let shop = Shop::start().await;
    let document = document(&shop).await;
    assert_eq!(document["openapi"], "3.1.0");
    check_references(&document, &document);
    for (verb, path, operation) in operations(&document) {
        let mut named: BTreeSet<String> = BTreeSet::new();
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            assert!(named.insert(name.to_owned()), "{verb} {path}: {name} twice");
            if parameter["in"] == "path" {
                assert_eq!(parameter["required"], true);
                assert!(path.contains(&format!("{{{name}}}")), "{path}: {name}");
            }
        }
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{verb} {path}"
        );
        assert!(operation["responses"]["200"].is_object());
        assert!(operation["responses"]["default"].is_object());
    }
    let place = &document["paths"]["/v1/orders"]["post"];
    assert!(
        place["description"]
            .as_str()
            .unwrap()
            .starts_with("Places an order")
    );
    assert!(
        place["responses"]["404"].is_object(),
        "{}",
        place["responses"]
    );
    let schemas = &document["components"]["schemas"];
    let line = &schemas["sockshop.orders.v1.OrderLine"];
    assert_eq!(line["required"], serde_json::json!(["variant", "quantity"]));
    let quantity = &line["properties"]["quantity"];
    assert_eq!(
        (&quantity["minimum"], &quantity["maximum"]),
        (&1.into(), &999.into())
    );
    assert_eq!(quantity["description"], "How many units, 1 to 999.");
    assert_eq!(line["properties"]["title"]["readOnly"], true);
    let order = &schemas["sockshop.orders.v1.Order"]["properties"];
    assert_eq!(order["cardToken"]["writeOnly"], true);
    assert_eq!(order["lines"]["maxItems"], 100);
    assert_eq!(order["createTime"]["format"], "date-time");
    let watch = &document["paths"]["/v1/orders/{order}:watch"]["get"]["responses"]["200"];
    assert!(watch["content"]["text/event-stream"].is_object());
    let list = &document["paths"]["/v1/products"]["get"]["parameters"];
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pageSize", "pageToken", "filter", "orderBy"]);
    let address = "/v1/customers/{customer}/addresses/{address}";
    assert!(document["paths"][address]["put"]["requestBody"].is_object());
}

fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(entries) => {
            for (key, inner) in entries {
                if key == "$ref" {
                    let pointer = inner.as_str().unwrap().trim_start_matches('#');
                    assert!(
                        document.pointer(pointer).is_some_and(Value::is_object),
                        "{inner}"
                    );
                }
                check_references(document, inner);
            }
        }
        Value::Array(elements) => {
            for inner in elements {
                check_references(document, inner);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let shop = Shop::start().await;
    let page = shop.get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for part in page.text().split(['"', '\'']) {
        assert!(
            !part.starts_with("http") && !part.starts_with("//"),
            "{part}"
        );
        if part.starts_with('/') {
            assert_eq!(shop.get(part).await.status, 200, "{part}");
        }
    }
    assert!(!page.text().contains("<style") && !page.text().contains("onclick"));
    let tag = page.header("etag").to_owned();
    assert_eq!(
        shop.send("GET", "/docs", &[("if-none-match", &tag)], "")
            .await
            .status,
        304
    );
    assert_eq!(shop.get("/docs/").await.status, 200);
    let refused = shop.send("POST", "/docs", &[], "").await;
    assert_eq!(refused.error(), "405 METHOD_NOT_ALLOWED");
    assert_eq!(refused.header("allow"), "GET, HEAD, OPTIONS");
}
