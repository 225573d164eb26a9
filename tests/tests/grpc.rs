//! The edge speaks native gRPC with reflection, and streams, on the same port as REST.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use contracts::sockshop::{
    catalogue::v1::{ListProductsRequest, catalogue_service_client::CatalogueServiceClient},
    orders::v1::{OrderState, WatchOrderRequest, order_service_client::OrderServiceClient},
};
use e2e::Shop;
use futures::StreamExt;
use tonic::{Code, Request, transport::Channel};
use tonic_reflection::pb::{v1, v1alpha};
use uuid::Uuid;

async fn channel(shop: &Shop) -> Channel {
    Channel::from_shared(format!("http://{}", shop.edge()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn expected_services() -> BTreeSet<String> {
    contracts::pool()
        .services()
        .map(|service| service.full_name().to_owned())
        .filter(|name| name.starts_with("sockshop."))
        .collect()
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let shop = Shop::shared().await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(shop).await);
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let answer = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner()
        .next()
        .await
        .unwrap()
        .unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("not a list: {answer:?}");
    };
    let listed: BTreeSet<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(listed.is_superset(&expected_services()), "{listed:?}");
}

#[tokio::test]
async fn old_reflection_describes_a_symbol() {
    let shop = Shop::shared().await;
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel(shop).await);
    let symbol = "sockshop.orders.v1.OrderService".to_owned();
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol),
        ),
    };
    let answer = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner()
        .next()
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(
            answer.message_response,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{answer:?}"
    );
}

#[tokio::test]
async fn generated_clients_call_through_the_edge() {
    let shop = Shop::shared().await;
    let mut catalogue = CatalogueServiceClient::new(channel(shop).await);
    let page = catalogue
        .list_products(ListProductsRequest {
            page_size: 5,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.products.len(), 5);
    assert!(page.total_size >= 60);

    let mut orders = OrderServiceClient::new(channel(shop).await);
    let status = orders
        .watch_order(WatchOrderRequest {
            name: "orders/x".into(),
        })
        .await
        .expect_err("no token was sent");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

#[tokio::test]
async fn an_order_is_watched_over_grpc_and_sse() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(21, 2).await.unwrap();
    let placed = shop
        .place(
            &customer,
            &Uuid::new_v4().to_string(),
            &variant,
            1,
            "cardTokens/test-succeeds",
        )
        .await
        .unwrap();
    assert_eq!(placed.status, 200, "{}", placed.text());
    let name = placed.json()["name"].as_str().unwrap().to_owned();

    let mut orders = OrderServiceClient::new(channel(shop).await);
    let mut request = Request::new(WatchOrderRequest { name: name.clone() });
    request.metadata_mut().insert(
        "authorization",
        format!("Bearer {}", customer.token).parse().unwrap(),
    );
    let updates: Vec<_> = orders
        .watch_order(request)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    let last = updates
        .last()
        .unwrap()
        .as_ref()
        .unwrap()
        .order
        .clone()
        .unwrap();
    assert_eq!(last.state(), OrderState::Paid);

    for (accept, first) in [
        ("text/event-stream", "data:"),
        ("application/x-ndjson", "{"),
        ("application/json", "["),
    ] {
        let text = stream(shop, &name, &customer.token, accept).await;
        assert!(text.contains("ORDER_STATE_PAID"), "{accept}: {text}");
        assert!(
            text.lines().any(|line| line.starts_with(first)),
            "{accept}: {text}"
        );
    }
}

async fn stream(shop: &Shop, name: &str, token: &str, accept: &str) -> String {
    use http_body_util::{BodyExt, Empty};
    let request = http::Request::builder()
        .uri(format!("/v1/{name}:watch"))
        .header("host", "shop.test")
        .header("accept", accept)
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let stream = tokio::net::TcpStream::connect(shop.edge()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let reply = sender.send_request(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with(accept), "{kind}");
    String::from_utf8(
        reply
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}
