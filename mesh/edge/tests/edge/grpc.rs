//! Native gRPC on the same port.

use std::sync::atomic::Ordering;

use contracts::sockshop::{
    catalogue::v1::{GetProductRequest, catalogue_service_client::CatalogueServiceClient},
    orders::v1::{WatchOrderRequest, order_service_client::OrderServiceClient},
};
use futures::{StreamExt, stream};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1;
use tonic_types::StatusExt;

use crate::backend::Shop;

async fn channel(shop: &Shop) -> Channel {
    let uri = format!("http://{}", shop.edge);
    Channel::from_shared(uri).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn calls_are_passed_on_and_errors_come_back_whole() {
    let shop = Shop::start().await;
    let mut catalogue = CatalogueServiceClient::new(channel(&shop).await);
    let mut request = Request::new(GetProductRequest {
        name: "products/warm".to_owned(),
    });
    request
        .metadata_mut()
        .insert("x-weft-subject", "customers/eve".parse().unwrap());
    let answer = catalogue.get_product(request).await.unwrap();
    assert!(answer.metadata().contains_key("x-request-id"));
    assert_eq!(answer.into_inner().product.unwrap().name, "products/warm");
    assert!(
        !shop
            .seen
            .metadata
            .lock()
            .unwrap()
            .contains_key("x-weft-subject")
    );

    let request = GetProductRequest {
        name: "products/none".to_owned(),
    };
    let status = catalogue.get_product(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "PRODUCT_NOT_FOUND"
    );
}

#[tokio::test]
async fn customers_need_a_token_and_streams_flow() {
    let shop = Shop::start().await;
    let mut orders = OrderServiceClient::new(channel(&shop).await);
    let watch = || {
        Request::new(WatchOrderRequest {
            name: "orders/1".to_owned(),
        })
    };
    let status = orders
        .watch_order(watch())
        .await
        .expect_err("no token was sent");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "TOKEN_MISSING"
    );
    let mut request = watch();
    let bearer = format!("Bearer {}", shop.token()).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let stream = orders.watch_order(request).await.unwrap().into_inner();
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 2);
    assert_eq!(
        shop.seen.metadata.lock().unwrap()["x-weft-subject"],
        "customers/ada"
    );
}

#[tokio::test]
async fn internal_and_unknown_methods_do_not_exist() {
    let shop = Shop::start().await;
    for path in [
        "/sockshop.payments.v1.PaymentService/ListLedgerEntries",
        "/sockshop.orders.v1.OrderService/No",
        "/no.Such/Method",
    ] {
        let mut grpc = tonic::client::Grpc::new(channel(&shop).await);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let status = grpc
            .unary(Request::new(()), path.parse().unwrap(), codec)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    assert_eq!(shop.seen.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused() {
    let shop = Shop::start().await;
    let mut catalogue = CatalogueServiceClient::new(channel(&shop).await);
    let request = GetProductRequest {
        name: "x".repeat(100_000),
    };
    let status = catalogue.get_product(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn health_and_reflection_are_the_edges_own() {
    let shop = Shop::start().await;
    let mut health = HealthClient::new(channel(&shop).await);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = health.check(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.status, 1);
    shop.front.set_serving(false).await;
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 2);

    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(channel(&shop).await);
    let question = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let answers = client
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let text = format!("{answer:?}");
    for name in [
        "CatalogueService",
        "OrderService",
        "grpc.reflection.v1alpha",
        "grpc.health",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
}
