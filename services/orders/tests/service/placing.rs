//! Placing orders: paid, rejected, repeated, refused.

use contracts::sockshop::orders::v1::{Order, OrderState, PlaceOrderRequest};
use service_kit::status;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    shop::Fault,
    world::{CUSTOMER, by, two_pairs, worlds},
};

fn reason(status: &Status) -> String {
    status::reason(status).unwrap_or_default()
}

#[tokio::test]
async fn order_is_paid_with_the_catalogues_prices() {
    for mut world in worlds("order_is_paid", 10).await {
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(order.state(), OrderState::Paid);
        assert_eq!(order.customer, CUSTOMER);
        assert_eq!(order.card_token, "");
        assert_eq!(order.lines[0].title, "Merino Socks");
        let total = order.total.clone().unwrap();
        assert_eq!((total.units, total.nanos), (25, 980_000_000));
        let states: Vec<OrderState> = order.history.iter().map(|change| change.state()).collect();
        use OrderState::{Authorized, Confirmed, Paid, Pending, Reserved};
        assert_eq!(states, [Pending, Reserved, Authorized, Confirmed, Paid]);

        assert_eq!(world.events().await, std::slice::from_ref(&order));
        {
            let books = world.shop.books();
            books.assert_sold(1);
            assert_eq!((books.stock, books.taken.len()), (8, 1));
        }
        assert_eq!(world.order(&order.name).await, order);
        world.stop().await;
    }
}

#[tokio::test]
async fn twenty_calls_with_one_request_id_make_one_order() {
    for mut world in worlds("twenty_calls", 100).await {
        let request = two_pairs("succeeds");
        let calls = (0..20).map(|_| world.place(request.clone()));
        let answers = futures::future::join_all(calls).await;
        let first = answers[0].as_ref().unwrap();
        assert_eq!(first.state(), OrderState::Paid);
        for answer in &answers {
            assert_eq!(answer.as_ref().unwrap(), first);
        }
        assert_eq!(world.place(request).await.unwrap(), *first);
        assert_eq!(world.events().await.len(), 1);
        world.shop.books().assert_sold(1);
        assert_eq!(world.shop.books().stock, 98);
        world.stop().await;
    }
}

#[tokio::test]
async fn request_id_belongs_to_one_order_of_one_customer() {
    for mut world in worlds("request_id_belongs", 10).await {
        let request = two_pairs("succeeds");
        let first = world.place(request.clone()).await.unwrap();
        let mut other = request.clone();
        other.order.as_mut().unwrap().lines[0].quantity = 3;
        let refused = world.place(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");

        let foreign = world
            .client(0)
            .place_order(by("customers/2", request))
            .await
            .unwrap();
        assert_ne!(foreign.into_inner().order.unwrap().name, first.name);
        world.events().await;
        world.shop.books().assert_sold(2);
        world.stop().await;
    }
}

#[tokio::test]
async fn rejected_order_gives_everything_back_and_keeps_its_answer() {
    for mut world in worlds("rejected_order", 10).await {
        let mut greedy = two_pairs("succeeds");
        greedy.order.as_mut().unwrap().lines[0].quantity = 11;
        let cases = [
            (greedy, "OUT_OF_STOCK"),
            (two_pairs("declines"), "CARD_DECLINED"),
            (two_pairs("expired"), "CARD_TOKEN_EXPIRED"),
            (two_pairs("unknown"), "CARD_TOKEN_NOT_FOUND"),
            (two_pairs("times-out"), "PAYMENT_TIMED_OUT"),
        ];
        for (request, expected) in cases {
            let refused = world.place(request.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
            assert_eq!(reason(&refused), expected);
            let facts = refused.get_details_error_info().unwrap().metadata;
            if expected == "OUT_OF_STOCK" {
                assert_eq!(facts["variant"], "products/merino/variants/36-40-navy");
                assert_eq!(facts["available"], "10");
            }
            let name = facts["order"].clone();
            let order = world.order(&name).await;
            assert_eq!(
                (order.state(), order.rejection_reason.as_str()),
                (OrderState::Rejected, expected)
            );
            let again = world.place(request).await.unwrap_err();
            assert_eq!(again.message(), refused.message());
            let repeated = again.get_details_error_info().unwrap();
            assert_eq!(
                (repeated.reason.as_str(), repeated.metadata),
                (expected, facts)
            );
        }
        assert_eq!(world.events().await.len(), 5);
        {
            let books = world.shop.books();
            books.assert_sold(0);
            assert_eq!(books.stock, 10);
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn catalogue_that_is_away_leaves_no_order() {
    for mut world in worlds("catalogue_away", 10).await {
        world.shop.set_fault("BatchGetVariants", Fault::Unavailable);
        let request = two_pairs("succeeds");
        let refused = world.place(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(world.shop.books().reservations.is_empty());
        world.shop.heal();
        assert_eq!(
            world.place(request).await.unwrap().state(),
            OrderState::Paid
        );
        world.only_order().await;
        world.stop().await;
    }
}

#[tokio::test]
async fn order_waits_for_an_absent_peer_and_goes_on_by_itself() {
    for mut world in worlds("order_waits", 10).await {
        world.shop.set_fault("AuthorizePayment", Fault::Unavailable);
        let waiting = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(waiting.state(), OrderState::Reserved);
        world.shop.heal();
        assert_eq!(world.end_of(&waiting.name).await.state(), OrderState::Paid);
        world.events().await;
        world.shop.books().assert_sold(1);
        world.stop().await;
    }
}

#[tokio::test]
async fn cart_that_is_away_does_not_touch_the_order() {
    for mut world in worlds("cart_away", 10).await {
        world.shop.set_fault("TakeOrderedLines", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(order.state(), OrderState::Paid);
        world.shop.heal();
        assert_eq!(world.events().await, [order]);
        assert_eq!(world.shop.books().taken.len(), 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn wrong_orders_are_refused_and_name_the_field() {
    for mut world in worlds("wrong_orders", 10).await {
        type Spoil = fn(&mut Order);
        let cases: [(Spoil, &str); 5] = [
            (|order| order.lines.clear(), "order.lines"),
            (
                |order| order.lines[0].quantity = 0,
                "order.lines[0].quantity",
            ),
            (
                |order| order.shipping_address = None,
                "order.shipping_address",
            ),
            (|order| order.email = "nobody".into(), "order.email"),
            (
                |order| order.lines.push(order.lines[0].clone()),
                "order.lines[1].variant",
            ),
        ];
        for (spoil, field) in cases {
            let mut request = two_pairs("succeeds");
            spoil(request.order.as_mut().unwrap());
            let refused = world.place(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            let fields = refused.get_details_bad_request().unwrap().field_violations;
            assert!(
                fields.iter().any(|violation| violation.field == field),
                "{fields:?}"
            );
        }
        let mut missing = two_pairs("succeeds");
        missing.order.as_mut().unwrap().lines[0].variant = "products/missing/variants/x".into();
        let refused = world.place(missing).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::NotFound, "VARIANT_NOT_FOUND")
        );
        assert!(
            refused.message().contains("products/missing/variants/x"),
            "{refused:?}"
        );

        let nobody: PlaceOrderRequest = two_pairs("succeeds");
        let refused = world.client(0).place_order(nobody).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(world.events().await.is_empty());
        world.stop().await;
    }
}
