//! Two processes on one database.

use std::time::Duration;

use contracts::sockshop::orders::v1::{OrderState, WatchOrderRequest};

use crate::{
    shop::Fault,
    world::{CUSTOMER, by, hasty_worlds, two_pairs, worlds},
};

#[tokio::test]
async fn two_replicas_never_do_a_step_twice() {
    for mut world in worlds("two_replicas", 1000).await {
        world.start().await;
        let place = |index: usize| {
            let mut client = world.client(index % 2);
            let mut call = by(CUSTOMER, two_pairs("succeeds"));
            // Connections to PostgreSQL are made meanwhile, which takes seconds on a busy machine.
            call.set_timeout(Duration::from_secs(30));
            async move { client.place_order(call).await }
        };
        let answers = futures::future::join_all((0..30).map(place)).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(world.events().await.len(), 30);
        {
            let books = world.shop.books();
            books.assert_sold(30);
            for method in [
                "ReserveStock",
                "AuthorizePayment",
                "ConfirmReservation",
                "CapturePayment",
            ] {
                assert_eq!(books.calls[method], 30, "{method}");
            }
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn replica_takes_over_the_orders_of_one_that_died() {
    for mut world in hasty_worlds("replica_takes_over", 10).await {
        world.start().await;
        world.shop.set_fault("CapturePayment", Fault::HangAfter);
        let mut client = world.client(0);
        let call = by(CUSTOMER, two_pairs("succeeds"));
        let placing = tokio::spawn(async move { client.place_order(call).await });
        world.shop.reached().await;

        let name = world.only_order().await;
        let watch = by(CUSTOMER, WatchOrderRequest { name });
        let mut stream = world
            .client(1)
            .watch_order(watch)
            .await
            .unwrap()
            .into_inner();
        world.kill();
        world.shop.heal();
        assert!(placing.await.unwrap().is_err());
        let mut last = OrderState::Unspecified;
        while let Some(message) = stream.message().await.unwrap() {
            last = message.order.unwrap().state();
        }
        assert_eq!(last, OrderState::Paid);
        assert_eq!(world.events().await.len(), 1);
        world.shop.books().assert_sold(1);
        world.stop().await;
    }
}
