//! Orders answers the same whether a sidecar stands beside it or the mesh is in its own process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use contracts::sockshop::{
    catalogue::v1::{ListProductsRequest, catalogue_service_client::CatalogueServiceClient},
    orders::v1::{
        GetOrderRequest, Order, OrderLine, PlaceOrderRequest, ShippingAddress,
        order_service_client::OrderServiceClient,
    },
};
use service_kit::{Subject, forward_subject, ids, status};
use tonic::{Request, Status};
use weft_channel::{AuthorityChannel, Mesh};

use crate::world::{How, World};

type Orders = OrderServiceClient<AuthorityChannel>;

fn by<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    forward_subject(&Subject::parse("customers/1").unwrap(), &mut request);
    request
}

async fn some_variant(edge: &Mesh) -> String {
    let mut catalogue = CatalogueServiceClient::new(edge.connect("catalogue"));
    let request = ListProductsRequest {
        page_size: 1,
        ..ListProductsRequest::default()
    };
    let products = catalogue.list_products(request).await.unwrap();
    let products = products.into_inner().products;
    products[0].variants[0].name.clone()
}

fn placement(variant: &str, quantity: i32, card_token: &str) -> PlaceOrderRequest {
    let order = Order {
        lines: vec![OrderLine {
            variant: variant.to_owned(),
            quantity,
            ..OrderLine::default()
        }],
        shipping_address: Some(ShippingAddress {
            recipient: "Ada Lovelace".into(),
            street: "Unter den Linden 1".into(),
            city: "Berlin".into(),
            postal_code: "10117".into(),
            region_code: "DE".into(),
        }),
        email: "ada@example.com".into(),
        card_token: format!("cardTokens/{card_token}"),
        ..Order::default()
    };
    PlaceOrderRequest {
        request_id: ids::new_secret(),
        order: Some(order),
    }
}

async fn place(orders: &mut Orders, request: &PlaceOrderRequest) -> Result<Order, Status> {
    let answer = orders.place_order(by(request.clone())).await?;
    Ok(answer.into_inner().order.unwrap())
}

async fn get(orders: &mut Orders, name: &str) -> Result<Order, Status> {
    let request = GetOrderRequest {
        name: name.to_owned(),
    };
    let answer = orders.get_order(by(request)).await?;
    Ok(answer.into_inner().order.unwrap())
}

/// What two runs have in common.
fn told(answer: Result<&Order, &Status>) -> String {
    match answer {
        Ok(order) => {
            let states: Vec<_> = order.history.iter().map(|change| change.state()).collect();
            let total = order.total.clone().unwrap_or_default();
            let lines: Vec<_> = order.lines.iter().map(|line| &line.title).collect();
            format!("{states:?} {lines:?} {} {}", total.units, total.nanos)
        }
        Err(refusal) => {
            let reason = status::reason(refusal).unwrap_or_default();
            // Names of orders are random.
            let parts = refusal.message().split('`');
            let parts = parts.map(|part| match part.starts_with("orders/") {
                true => "an order",
                false => part,
            });
            format!(
                "{:?} {reason} {}",
                refusal.code(),
                parts.collect::<String>()
            )
        }
    }
}

/// Places, gets and refuses orders; says what came of each.
async fn story(world: &World) -> Vec<String> {
    let edge = world.edge().await;
    let variant = some_variant(&edge).await;
    let mut orders = OrderServiceClient::new(edge.connect("orders"));
    let mut story = Vec::new();

    let request = placement(&variant, 2, "test-succeeds");
    let placed = place(&mut orders, &request).await.unwrap();
    assert_eq!(place(&mut orders, &request).await.unwrap(), placed);
    assert_eq!(get(&mut orders, &placed.name).await.unwrap(), placed);
    story.push(told(Ok(&placed)));

    for refused in [
        placement(&variant, 2, "test-declines"),
        placement("products/none/variants/none", 1, "test-succeeds"),
        placement(&variant, 0, "test-succeeds"),
    ] {
        let answer = place(&mut orders, &refused).await;
        story.push(told(answer.as_ref()));
    }
    let missing = get(&mut orders, "orders/00000000-0000-0000-0000-000000000000").await;
    story.push(told(missing.as_ref()));

    let mut stranger = OrderServiceClient::new(world.stranger().await.connect("orders"));
    let denied = get(&mut stranger, &placed.name).await;
    story.push(told(denied.as_ref()));
    story
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_answers_the_same_behind_a_sidecar_and_with_the_mesh_in_its_process() {
    let with_sidecar = World::start(How::Sidecar).await;
    let expected = story(&with_sidecar).await;
    with_sidecar.stop().await;

    let in_process = World::start(How::InProcess).await;
    assert_eq!(story(&in_process).await, expected);
    let metrics = in_process.metrics.encode();
    in_process.stop().await;

    assert!(expected[0].contains("Paid"), "{expected:#?}");
    for (told, code) in expected[2..].iter().zip([
        "NotFound",
        "InvalidArgument",
        "NotFound",
        "PermissionDenied CALLER_NOT_ALLOWED",
    ]) {
        assert!(told.starts_with(code), "{expected:#?}");
    }
    for line in [
        "grpc_server_call_started_total{grpc_method=\"sockshop.orders.v1.OrderService/PlaceOrder\"} 5",
        "istio_requests_total{reporter=\"destination\",source_workload=\"carts\",destination_service=\"orders\",request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"7\",connection_security_policy=\"mutual_tls\"} 1",
        "grpc_client_attempt_started_total{grpc_method=\"sockshop.inventory.v1.InventoryService/ReserveStock\",grpc_target=\"inventory:7070\"} 2",
    ] {
        assert!(metrics.contains(line), "no `{line}` in:\n{metrics}");
    }
}
