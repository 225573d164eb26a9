//! Generated TypeScript and Python clients list the products through the edge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::{
    Shop,
    sdk::{self, Listing},
};

/// What the shop answers over REST, to compare with.
async fn expected(shop: &Shop, unknown: &str) -> Listing {
    let reply = shop.get("/v1/products?pageSize=100", None).await.unwrap();
    let page = reply.json();
    let products = page["products"].as_array().unwrap();
    assert_eq!(
        page["nextPageToken"].as_str().unwrap_or_default(),
        "",
        "one page holds them all"
    );
    Listing {
        products: products.len(),
        first: products[0]["name"].as_str().unwrap().to_owned(),
        unknown: unknown.to_owned(),
    }
}

#[tokio::test]
async fn typescript_client_lists_products() {
    let shop = Shop::shared().await;
    if let Some(listing) = sdk::typescript(shop.edge()).await.unwrap() {
        assert_eq!(listing, expected(shop, "NotFound").await);
    }
}

#[tokio::test]
async fn python_client_lists_products() {
    let shop = Shop::shared().await;
    if let Some(listing) = sdk::python(shop.edge()).await.unwrap() {
        assert_eq!(listing, expected(shop, "NOT_FOUND").await);
    }
}
