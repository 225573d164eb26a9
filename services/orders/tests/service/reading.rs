//! Reading, listing and watching orders.

use std::time::Duration;

use contracts::sockshop::orders::v1::{
    GetOrderRequest, ListOrdersRequest, OrderState, WatchOrderRequest,
};
use service_kit::status;
use tonic::Code;

use crate::{
    shop::Fault,
    world::{CUSTOMER, World, by, two_pairs, worlds},
};

/// All states that a watcher is sent.
async fn watched(world: &World, name: &str) -> Vec<OrderState> {
    let request = WatchOrderRequest { name: name.into() };
    let mut stream = world
        .client(0)
        .watch_order(by(CUSTOMER, request))
        .await
        .unwrap()
        .into_inner();
    let mut states = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        states.push(message.order.unwrap().state());
    }
    states
}

#[tokio::test]
async fn watcher_is_sent_every_state_and_then_the_end() {
    for mut world in worlds("watcher", 10).await {
        world.shop.set_fault("AuthorizePayment", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        let heal = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.shop.heal();
        };
        let (states, ()) = futures::future::join(watched(&world, &order.name), heal).await;
        use OrderState::{Authorized, Confirmed, Paid, Reserved};
        assert_eq!(states, [Reserved, Authorized, Confirmed, Paid]);
        assert_eq!(watched(&world, &order.name).await, [Paid]);
        world.stop().await;
    }
}

#[tokio::test]
async fn watcher_of_a_draining_replica_is_told_to_come_back() {
    for mut world in worlds("watcher_drain", 10).await {
        world.shop.set_fault("AuthorizePayment", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        let request = WatchOrderRequest { name: order.name };
        let mut stream = world
            .client(0)
            .watch_order(by(CUSTOMER, request))
            .await
            .unwrap()
            .into_inner();
        stream.message().await.unwrap().unwrap();
        world.stop().await;
        assert_eq!(
            stream.message().await.unwrap_err().code(),
            Code::Unavailable
        );
    }
}

#[tokio::test]
async fn order_of_another_customer_is_not_there() {
    for mut world in worlds("foreign_order", 10).await {
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        for name in [order.name, "orders/nothing".to_owned()] {
            let request = by("customers/2", GetOrderRequest { name: name.clone() });
            let read = world.client(0).get_order(request).await.unwrap_err();
            let request = by("customers/2", WatchOrderRequest { name });
            let watch = world.client(0).watch_order(request).await.unwrap_err();
            for refused in [read, watch] {
                assert_eq!(refused.code(), Code::NotFound);
                assert_eq!(status::reason(&refused).as_deref(), Some("ORDER_NOT_FOUND"));
            }
        }
        let request = by("customers/2", ListOrdersRequest::default());
        let list = world
            .client(0)
            .list_orders(request)
            .await
            .unwrap()
            .into_inner();
        assert!(list.orders.is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn orders_are_listed_newest_first_in_pages() {
    for mut world in worlds("orders_are_listed", 10).await {
        let mut placed = Vec::new();
        for _ in 0..5 {
            placed.insert(0, world.place(two_pairs("succeeds")).await.unwrap().name);
        }
        let mut listed = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = by(
                CUSTOMER,
                ListOrdersRequest {
                    page_size: 2,
                    page_token,
                },
            );
            let page = world
                .client(0)
                .list_orders(request)
                .await
                .unwrap()
                .into_inner();
            assert!(page.orders.len() <= 2);
            listed.extend(page.orders.into_iter().map(|order| order.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, placed);

        let request = by(
            CUSTOMER,
            ListOrdersRequest {
                page_token: "x".into(),
                page_size: 2,
            },
        );
        let refused = world.client(0).list_orders(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        world.stop().await;
    }
}
