//! The catalogue over loopback gRPC, on every database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use catalogue::MIGRATIONS;
use contracts::sockshop::catalogue::v1::{
    BatchGetVariantsRequest, GetPictureRequest, GetProductRequest, ListCategoriesRequest,
    ListProductsRequest, Product, catalogue_service_client::CatalogueServiceClient,
};
use service_kit::{Upstream, status, testing};
use tonic::Code;

type Client = CatalogueServiceClient<Upstream>;

/// Runs `check` against a catalogue of its own on each database.
async fn on_each_database(test: &str, check: impl AsyncFn(Client)) {
    for db in testing::databases(test, &MIGRATIONS).await {
        let running = catalogue::server((*db).clone()).await.unwrap();
        let running = testing::spawn(|listener, token| running.serve(listener, token)).await;
        check(CatalogueServiceClient::new(running.upstream())).await;
        running.stop().await.unwrap();
    }
}

async fn pages(client: &Client, filter: &str, order_by: &str, page_size: i32) -> Vec<Product> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListProductsRequest {
            page_size,
            page_token,
            filter: filter.into(),
            order_by: order_by.into(),
        };
        let page = client
            .clone()
            .list_products(request)
            .await
            .unwrap()
            .into_inner();
        assert!(page.products.len() <= usize::try_from(page_size).unwrap());
        all.extend(page.products);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            assert_eq!(all.len(), usize::try_from(page.total_size).unwrap());
            return all;
        }
    }
}

fn cents(product: &Product) -> i64 {
    let price = product.lowest_price.as_ref().unwrap();
    price.units * 100 + i64::from(price.nanos) / 10_000_000
}

#[tokio::test]
async fn pages_hold_every_product_once_in_order() {
    on_each_database("pages", async |client| {
        let by_price = pages(&client, "", "price desc", 7).await;
        assert!(by_price.len() >= 60);
        assert!(
            by_price
                .windows(2)
                .all(|pair| cents(&pair[0]) >= cents(&pair[1]))
        );
        let names: BTreeSet<_> = by_price.iter().map(|product| &product.name).collect();
        assert_eq!(names.len(), by_price.len());
        for order_by in ["", "title desc", "create_time", "price"] {
            assert_eq!(pages(&client, "", order_by, 11).await.len(), by_price.len());
        }
    })
    .await;
}

#[tokio::test]
async fn filters_are_combined() {
    on_each_database("filters", async |client| {
        let filter = "category = \"wool\" AND price <= 20 AND price >= 10.5";
        let found = pages(&client, filter, "price", 5).await;
        assert!(!found.is_empty());
        for product in &found {
            assert!(
                product.categories.contains(&"wool".to_owned()),
                "{product:?}"
            );
            assert!((1050..=2000).contains(&cents(product)), "{product:?}");
        }
        let lemons = pages(&client, "\"LEMON\"", "", 5).await;
        assert!(lemons.iter().any(|product| product.title.contains("Lemon")));
        assert_eq!(pages(&client, "\"100%_\\\"", "", 5).await, []);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_understood_is_named() {
    on_each_database("refusals", async |client| {
        let ask = async |filter: &str, order_by: &str, page_token: &str| {
            let request = ListProductsRequest {
                filter: filter.into(),
                order_by: order_by.into(),
                page_token: page_token.into(),
                ..Default::default()
            };
            client.clone().list_products(request).await.unwrap_err()
        };
        for (status, field) in [
            (ask("size = 3", "", "").await, "filter"),
            (ask("", "size", "").await, "order_by"),
            (ask("", "", "x").await, "page_token"),
        ] {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(field), "{status}");
        }
    })
    .await;
}

#[tokio::test]
async fn products_variants_and_pictures_are_read_by_name() {
    on_each_database("reads", async |mut client| {
        let first = pages(&client, "", "", 100).await.remove(0);
        let request = GetProductRequest {
            name: first.name.clone(),
        };
        let product = client
            .get_product(request)
            .await
            .unwrap()
            .into_inner()
            .product
            .unwrap();
        assert_eq!(product, first);
        let names: Vec<String> = product
            .variants
            .iter()
            .rev()
            .map(|variant| variant.name.clone())
            .collect();
        let request = BatchGetVariantsRequest {
            names: names.clone(),
        };
        let variants = client
            .batch_get_variants(request)
            .await
            .unwrap()
            .into_inner()
            .variants;
        assert_eq!(
            variants
                .iter()
                .map(|each| each.name.clone())
                .collect::<Vec<_>>(),
            names
        );
        let request = GetPictureRequest { name: product.name };
        let picture = client
            .get_picture(request)
            .await
            .unwrap()
            .into_inner()
            .picture
            .unwrap();
        assert_eq!(picture.content_type, "image/svg+xml");
        assert!(picture.data.starts_with(b"<svg"));
        let categories = client
            .list_categories(ListCategoriesRequest {})
            .await
            .unwrap();
        let categories = categories.into_inner().categories;
        assert!(categories.len() >= 6 && categories.iter().all(|each| each.product_count > 0));
    })
    .await;
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    on_each_database("unknown", async |mut client| {
        let request = GetProductRequest {
            name: "products/none".into(),
        };
        let status = client.get_product(request).await.unwrap_err();
        assert_eq!(
            status::reason(&status).as_deref(),
            Some("PRODUCT_NOT_FOUND")
        );
        let request = BatchGetVariantsRequest {
            names: vec!["products/a/variants/b".into()],
        };
        let status = client.batch_get_variants(request).await.unwrap_err();
        assert_eq!(
            status::reason(&status).as_deref(),
            Some("VARIANT_NOT_FOUND")
        );
        let request = GetProductRequest {
            name: "products/No".into(),
        };
        let status = client.get_product(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    })
    .await;
}

#[tokio::test]
async fn a_second_start_seeds_nothing_twice() {
    for db in testing::databases("seed", &MIGRATIONS).await {
        let (first, second) = tokio::join!(
            catalogue::server((*db).clone()),
            catalogue::server((*db).clone())
        );
        first.unwrap();
        second.unwrap();
        let (count,): (i64,) = db
            .fetch_one("SELECT COUNT(*) FROM product", vec![])
            .await
            .unwrap();
        assert_eq!(
            usize::try_from(count).unwrap(),
            catalogue::seed::products().unwrap().products.len()
        );
    }
}
