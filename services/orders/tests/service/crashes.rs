//! The process dies at every step, before the peer did its part and after; another takes the order up.

use contracts::sockshop::orders::v1::OrderState;

use crate::{
    shop::{Fault, Hold, Method, Money},
    world::{CUSTOMER, by, hasty_worlds, two_pairs},
};

/// Kills the process while it waits for `method`, starts another, and checks how the order ends.
async fn dies_at(method: Method, card: &str, ends: OrderState) {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for mut world in hasty_worlds("dies_at", 10).await {
            world.shop.set_fault(method, fault);
            let request = two_pairs(card);
            let mut client = world.client(0);
            let call = by(CUSTOMER, request.clone());
            let placing = tokio::spawn(async move { client.place_order(call).await });
            world.shop.reached().await;
            if method == "TakeOrderedLines" {
                // The order is paid: its caller has the answer before this step ends.
                assert!(placing.await.unwrap().is_ok());
                world.kill();
            } else {
                world.kill();
                assert!(placing.await.unwrap().is_err(), "{method} {fault:?}");
            }

            world.shop.heal();
            world.start().await;
            let name = world.only_order().await;
            let order = world.end_of(&name).await;
            assert_eq!(order.state(), ends, "{method} {fault:?}");
            let events = world.events().await;
            assert_eq!(events, std::slice::from_ref(&order), "{method} {fault:?}");
            {
                let books = world.shop.books();
                let sold = usize::from(ends == OrderState::Paid);
                books.assert_sold(sold);
                assert_eq!(books.stock, if sold == 1 { 8 } else { 10 });
                assert!(
                    books.effects.values().all(|count| *count == 1),
                    "{:?}",
                    books.effects
                );
            }
            let again = world.place(request).await;
            assert_eq!(again.is_ok(), ends == OrderState::Paid);
            assert_eq!(world.only_order().await, name);
            world.stop().await;
        }
    }
}

#[tokio::test]
async fn process_that_dies_while_reserving() {
    dies_at("ReserveStock", "succeeds", OrderState::Paid).await;
}

#[tokio::test]
async fn process_that_dies_while_authorizing() {
    dies_at("AuthorizePayment", "succeeds", OrderState::Paid).await;
}

#[tokio::test]
async fn process_that_dies_while_confirming() {
    dies_at("ConfirmReservation", "succeeds", OrderState::Paid).await;
}

#[tokio::test]
async fn process_that_dies_while_capturing() {
    dies_at("CapturePayment", "succeeds", OrderState::Paid).await;
}

#[tokio::test]
async fn process_that_dies_while_taking_lines_from_the_cart() {
    dies_at("TakeOrderedLines", "succeeds", OrderState::Paid).await;
}

#[tokio::test]
async fn process_that_dies_while_voiding() {
    dies_at("VoidPayment", "times-out", OrderState::Rejected).await;
}

#[tokio::test]
async fn process_that_dies_while_releasing() {
    dies_at("ReleaseReservation", "declines", OrderState::Rejected).await;
}

#[tokio::test]
async fn drained_process_leaves_its_orders_to_the_next() {
    for mut world in hasty_worlds("drained_process", 10).await {
        world
            .shop
            .set_fault("ConfirmReservation", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(order.state(), OrderState::Authorized);
        world.stop().await;
        world.shop.heal();
        world.start().await;
        assert_eq!(world.end_of(&order.name).await.state(), OrderState::Paid);
        assert_eq!(world.events().await.len(), 1);
        world.shop.books().assert_sold(1);
        world.stop().await;
    }
}

#[tokio::test]
async fn reservation_that_is_lost_gives_the_money_back() {
    for mut world in hasty_worlds("reservation_is_lost", 10).await {
        world
            .shop
            .set_fault("ConfirmReservation", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(order.state(), OrderState::Authorized);
        {
            let mut books = world.shop.books();
            books
                .reservations
                .values_mut()
                .for_each(|(_, hold)| *hold = Hold::Released);
            books.stock = 10;
        }
        world.shop.heal();
        let order = world.end_of(&order.name).await;
        assert_eq!(order.rejection_reason, "OUT_OF_STOCK");
        world.shop.books().assert_sold(0);
        assert!(
            world
                .shop
                .books()
                .payments
                .values()
                .all(|money| *money == Money::Voided)
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn hold_that_is_lost_gives_the_sold_stock_back() {
    for mut world in hasty_worlds("hold_is_lost", 10).await {
        world.shop.set_fault("CapturePayment", Fault::Unavailable);
        let order = world.place(two_pairs("succeeds")).await.unwrap();
        assert_eq!(order.state(), OrderState::Confirmed);
        world
            .shop
            .books()
            .payments
            .values_mut()
            .for_each(|money| *money = Money::Voided);
        world.shop.heal();
        assert_eq!(
            world.end_of(&order.name).await.state(),
            OrderState::Rejected
        );
        world.shop.books().assert_sold(0);
        assert_eq!(world.shop.books().stock, 10);
        world.stop().await;
    }
}

#[tokio::test]
async fn money_that_was_collected_unheard_is_paid_back_when_the_order_is_given_up() {
    for mut world in hasty_worlds("collected_unheard", 10).await {
        world.shop.set_fault("CapturePayment", Fault::HangAfter);
        let mut client = world.client(0);
        let call = by(CUSTOMER, two_pairs("succeeds"));
        let placing = tokio::spawn(async move { client.place_order(call).await });
        world.shop.reached().await;
        world.kill();
        assert!(placing.await.unwrap().is_err());
        // As if the payment service had been silent for sixteen minutes.
        let sql = "UPDATE orders SET step_since = step_since - 960000000";
        world.test.execute(sql, vec![]).await.unwrap();
        world.start().await;

        let name = world.only_order().await;
        let order = world.end_of(&name).await;
        assert_eq!(order.rejection_reason, "PAYMENT_TIMED_OUT");
        {
            let books = world.shop.books();
            books.assert_sold(0);
            assert_eq!((books.stock, books.effects["RefundPayment"]), (10, 1));
        }
        world.stop().await;
    }
}
