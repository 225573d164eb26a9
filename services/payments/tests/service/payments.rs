//! Payments through the generated clients, on every database.

use crate::world::{World, amount, worlds};
use contracts::sockshop::payments::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, GetPaymentRequest, Payment, PaymentState,
    RefundPaymentRequest, VoidPaymentRequest, void_payment_request::Target,
};
use service_kit::{ids, status};
use tonic::Code;

#[tokio::test]
async fn repeated_authorization_gives_the_first_result() {
    for world in worlds("repeated_authorization").await {
        let request = world.demand("test-succeeds");
        let first = world.authorize(request.clone()).await.unwrap();
        assert_eq!(first.state(), PaymentState::Authorized);
        assert_eq!(
            (first.card_brand.as_str(), first.card_last_four.as_str()),
            ("visa", "4242")
        );
        assert_eq!(world.authorize(request.clone()).await.unwrap(), first);
        world.capture(&first.name).await.unwrap();
        assert_eq!(world.authorize(request.clone()).await.unwrap(), first);

        let other = AuthorizePaymentRequest {
            amount: Some(amount(1)),
            ..request
        };
        let refused = world.authorize(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(
            status::reason(&refused).as_deref(),
            Some("REQUEST_ID_REUSED")
        );
        world.stop().await;
    }
}

/// Asks as an idempotent caller does: a call that ran out of time is made again.
async fn answered(world: &World, request: &AuthorizePaymentRequest) -> Payment {
    loop {
        match world.authorize(request.clone()).await {
            Ok(payment) => return payment,
            Err(status) => assert_eq!(status.code(), Code::DeadlineExceeded, "{status}"),
        }
    }
}

#[tokio::test]
async fn hundred_calls_at_once_hold_the_amount_once() {
    for world in worlds("hundred_calls_at_once").await {
        let request = world.demand("test-succeeds");
        let calls = (0..100).map(|_| answered(&world, &request));
        let answers = futures::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(world.balances().await.holds, 1299);
        assert_eq!(world.ledger().await.len(), 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn declined_card_leaves_the_ledger_as_it_was() {
    for world in worlds("declined_card").await {
        let request = world.demand("test-declines");
        for _ in 0..2 {
            let declined = world.authorize(request.clone()).await.unwrap_err();
            assert_eq!(declined.code(), Code::FailedPrecondition);
            assert_eq!(status::reason(&declined).as_deref(), Some("CARD_DECLINED"));
        }
        assert!(world.ledger().await.is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn money_goes_its_way_and_the_ledger_sums_to_zero() {
    for world in worlds("money_goes_its_way").await {
        let payment = world
            .authorize(world.demand("test-succeeds"))
            .await
            .unwrap();
        assert_eq!(world.balances().await.holds, 1299);
        for _ in 0..2 {
            let captured = world.capture(&payment.name).await.unwrap();
            assert_eq!(captured.state(), PaymentState::Captured);
        }
        let balances = world.balances().await;
        assert_eq!((balances.holds, balances.merchant), (0, 1299));

        let too_late = world
            .void(Target::Name(payment.name.clone()))
            .await
            .unwrap_err();
        assert_eq!(
            status::reason(&too_late).as_deref(),
            Some("PAYMENT_CAPTURED")
        );
        let refund = ids::new_secret();
        for _ in 0..2 {
            let refunded = world.refund(&refund, &payment.name).await.unwrap();
            assert_eq!(refunded.state(), PaymentState::Refunded);
        }
        let again = world
            .refund(&ids::new_secret(), &payment.name)
            .await
            .unwrap_err();
        assert_eq!(
            status::reason(&again).as_deref(),
            Some("PAYMENT_NOT_CAPTURED")
        );
        let balances = world.balances().await;
        assert_eq!((balances.holds, balances.merchant), (0, 0));
        world.stop().await;
    }
}

#[tokio::test]
async fn voided_payment_cannot_be_collected() {
    for world in worlds("voided_payment").await {
        let request = world.demand("test-succeeds");
        let payment = world.authorize(request.clone()).await.unwrap();
        for _ in 0..2 {
            let voided = world
                .void(Target::Name(payment.name.clone()))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(voided.state(), PaymentState::Voided);
        }
        let refused = world.capture(&payment.name).await.unwrap_err();
        assert_eq!(
            status::reason(&refused).as_deref(),
            Some("PAYMENT_NOT_AUTHORIZED")
        );
        let refused = world.authorize(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(world.balances().await.holds, 0);
        world.stop().await;
    }
}

#[tokio::test]
async fn silent_provider_leaves_a_hold_that_its_request_id_gives_up() {
    for world in worlds("silent_provider").await {
        let request = world.demand("test-times-out");
        let silent = world.authorize(request.clone()).await.unwrap_err();
        assert_eq!(silent.code(), Code::Unavailable);
        assert_eq!(
            status::reason(&silent).as_deref(),
            Some("PROVIDER_UNAVAILABLE")
        );
        assert!(
            world.ledger().await.is_empty(),
            "the outcome is not known yet"
        );

        let target = || Target::AuthorizationRequestId(request.request_id.clone());
        for _ in 0..2 {
            let voided = world.void(target()).await.unwrap().unwrap();
            assert_eq!(voided.state(), PaymentState::Voided);
        }
        assert_eq!(
            world.ledger().await.len(),
            4,
            "both ends of the hold are told"
        );
        let refused = world.authorize(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        world.stop().await;
    }
}

#[tokio::test]
async fn authorization_that_comes_after_its_void_is_refused() {
    for world in worlds("late_authorization").await {
        let request = world.demand("test-succeeds");
        let target = Target::AuthorizationRequestId(request.request_id.clone());
        assert_eq!(world.void(target.clone()).await.unwrap(), None);
        assert_eq!(world.void(target).await.unwrap(), None);
        let refused = world.authorize(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(
            status::reason(&refused).as_deref(),
            Some("AUTHORIZATION_VOIDED")
        );
        assert!(world.ledger().await.is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn void_and_authorization_at_once_never_leave_a_hold() {
    for world in worlds("void_and_authorization_at_once").await {
        for _ in 0..20 {
            let request = world.demand("test-succeeds");
            let target = Target::AuthorizationRequestId(request.request_id.clone());
            let void = async {
                // The local provider asks for one more call when the two meet in its books.
                while let Err(again) = world.void(target.clone()).await {
                    assert_eq!(again.code(), Code::Unavailable);
                }
            };
            let (_, ()) = futures::future::join(world.authorize(request.clone()), void).await;
            assert_eq!(world.balances().await.holds, 0);
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn crash_between_provider_and_record_is_repaired_by_repeating_the_call() {
    for world in worlds("crash_between").await {
        let mut request = world.demand("test-succeeds");
        // What is left when the process dies after the provider's commit and before ours: its books
        // know the key, ours only that it was asked. The silent provider makes just that.
        request.card_token = "cardTokens/test-times-out".into();
        world.authorize(request.clone()).await.unwrap_err();
        world
            .execute("UPDATE payment SET provider_token = 'local-succeeds'")
            .await;

        let world = world.restart().await;
        let payment = world.authorize(request).await.unwrap();
        assert_eq!(payment.state(), PaymentState::Authorized);
        assert_eq!(world.balances().await.holds, 1299);
        assert_eq!(world.ledger().await.len(), 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn ledger_cannot_be_changed_even_by_sql() {
    for world in worlds("ledger_cannot_be_changed").await {
        world
            .authorize(world.demand("test-succeeds"))
            .await
            .unwrap();
        for sql in [
            "UPDATE ledger_entry SET minor_units = 1",
            "DELETE FROM ledger_entry",
        ] {
            let refused = world.db.execute(sql, vec![]).await.unwrap_err();
            let causes = format!("{:#}", anyhow::Error::new(refused));
            assert!(causes.contains("append-only"), "{causes}");
        }
        assert_eq!(world.ledger().await.len(), 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn ledger_is_numbered_without_gaps_and_comes_in_pages() {
    for world in worlds("ledger_pages").await {
        for _ in 0..3 {
            world
                .authorize(world.demand("test-succeeds"))
                .await
                .unwrap();
        }
        let sequences: Vec<i64> = world
            .ledger_in_pages_of(4)
            .await
            .iter()
            .map(|entry| entry.sequence)
            .collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
        world.stop().await;
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_the_reason() {
    for world in worlds("wrong_requests").await {
        let mut payments = world.payments();
        let name = "payments/nobody".to_owned();
        let missing = payments
            .get_payment(GetPaymentRequest { name: name.clone() })
            .await;
        assert_eq!(
            status::reason(&missing.unwrap_err()).as_deref(),
            Some("PAYMENT_NOT_FOUND")
        );
        let missing = payments
            .capture_payment(CapturePaymentRequest { name: name.clone() })
            .await;
        assert_eq!(
            status::reason(&missing.unwrap_err()).as_deref(),
            Some("PAYMENT_NOT_FOUND")
        );
        let empty = payments
            .void_payment(VoidPaymentRequest { target: None })
            .await;
        assert_eq!(empty.unwrap_err().code(), Code::InvalidArgument);
        let request_id = "not a uuid".to_owned();
        let invalid = payments
            .refund_payment(RefundPaymentRequest { request_id, name })
            .await;
        assert_eq!(invalid.unwrap_err().code(), Code::InvalidArgument);

        for wrong in [amount(0), amount(-1), Default::default()] {
            let request = AuthorizePaymentRequest {
                amount: Some(wrong),
                ..world.demand("test-succeeds")
            };
            let refused = world.authorize(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
        let stranger = world.authorize(world.demand("nobodys")).await.unwrap_err();
        assert_eq!(stranger.code(), Code::NotFound);
        assert_eq!(
            status::reason(&stranger).as_deref(),
            Some("CARD_TOKEN_NOT_FOUND")
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn captured_payment_is_read_back() {
    for world in worlds("captured_payment").await {
        let payment = world
            .authorize(world.demand("test-succeeds"))
            .await
            .unwrap();
        world.capture(&payment.name).await.unwrap();
        let request = GetPaymentRequest {
            name: payment.name.clone(),
        };
        let read = world
            .payments()
            .get_payment(request)
            .await
            .unwrap()
            .into_inner();
        let read = read.payment.unwrap();
        assert_eq!(read.state(), PaymentState::Captured);
        assert_eq!((read.order, read.amount), (payment.order, payment.amount));
        world.stop().await;
    }
}
