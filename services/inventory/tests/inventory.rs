//! The inventory over loopback gRPC, on every database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use contracts::sockshop::inventory::v1::{
    AdjustStockRequest, BatchGetStockRequest, ConfirmReservationRequest, ReleaseReservationRequest,
    Reservation, ReservationLine, ReservationState, ReserveStockRequest,
    inventory_service_client::InventoryServiceClient,
};
use futures::future::join_all;
use inventory::MIGRATIONS;
use service_kit::{Upstream, status, testing};
use tonic::{Code, Status};
use uuid::Uuid;

type Client = InventoryServiceClient<Upstream>;

const A: &str = "products/test/variants/a";
const B: &str = "products/test/variants/b";

/// Runs `check` against an inventory of its own with 10 units of A and B, on each database.
async fn on_each_database(test: &str, check: impl AsyncFn(Client)) {
    for db in testing::databases(test, &MIGRATIONS).await {
        let server = inventory::server((*db).clone()).await.unwrap();
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        let mut client = InventoryServiceClient::new(running.upstream());
        for variant in [A, B] {
            let request = AdjustStockRequest {
                request_id: id(),
                variant: variant.into(),
                change: 10,
            };
            client.adjust_stock(request).await.unwrap();
        }
        check(client).await;
        running.stop().await.unwrap();
    }
}

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn reserve(lines: &[(&str, i32)]) -> ReserveStockRequest {
    let line = |(variant, quantity): &(&str, i32)| ReservationLine {
        variant: (*variant).into(),
        quantity: *quantity,
    };
    ReserveStockRequest {
        request_id: id(),
        lines: lines.iter().map(line).collect(),
        time_to_live: None,
    }
}

async fn send(client: &Client, request: ReserveStockRequest) -> Result<Reservation, Status> {
    Ok(client
        .clone()
        .reserve_stock(request)
        .await?
        .into_inner()
        .reservation
        .unwrap())
}

/// (available, reserved) of A and B.
async fn stock(client: &Client) -> [(i32, i32); 2] {
    let request = BatchGetStockRequest {
        variants: vec![A.into(), B.into()],
    };
    let stock = client
        .clone()
        .batch_get_stock(request)
        .await
        .unwrap()
        .into_inner()
        .stock;
    [0, 1].map(|index| (stock[index].available, stock[index].reserved))
}

#[tokio::test]
async fn units_are_reserved_then_sold() {
    on_each_database("sold", async |mut client| {
        let reservation = send(&client, reserve(&[(A, 3), (B, 1)])).await.unwrap();
        assert_eq!(stock(&client).await, [(7, 3), (9, 1)]);
        for _ in 0..2 {
            let request = ConfirmReservationRequest {
                name: reservation.name.clone(),
            };
            let confirmed = client
                .confirm_reservation(request)
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                confirmed.reservation.unwrap().state(),
                ReservationState::Confirmed
            );
            assert_eq!(stock(&client).await, [(7, 0), (9, 0)]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_release_gives_back_once_also_what_was_sold() {
    on_each_database("release", async |mut client| {
        let open = send(&client, reserve(&[(A, 3)])).await.unwrap();
        let sold = send(&client, reserve(&[(B, 2)])).await.unwrap();
        let request = ConfirmReservationRequest {
            name: sold.name.clone(),
        };
        client.confirm_reservation(request).await.unwrap();
        for name in [&open.name, &sold.name, &open.name, &sold.name] {
            let request = ReleaseReservationRequest { name: name.clone() };
            client.release_reservation(request).await.unwrap();
        }
        assert_eq!(stock(&client).await, [(10, 0), (10, 0)]);
        let request = ConfirmReservationRequest { name: open.name };
        let status = client.confirm_reservation(request).await.unwrap_err();
        assert_eq!(status::reason(&status).as_deref(), Some("RESERVATION_GONE"));
    })
    .await;
}

#[tokio::test]
async fn all_lines_are_reserved_or_none() {
    on_each_database("all or none", async |client| {
        let status = send(&client, reserve(&[(A, 3), (B, 11)]))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status::reason(&status).as_deref(), Some("OUT_OF_STOCK"));
        assert_eq!(stock(&client).await, [(10, 0), (10, 0)]);
    })
    .await;
}

#[tokio::test]
async fn stock_is_never_negative_under_concurrency() {
    on_each_database("concurrency", async |client| {
        let results = join_all((0..40).map(|_| send(&client, reserve(&[(A, 1), (B, 1)])))).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
        assert_eq!(stock(&client).await, [(0, 10), (0, 10)]);
    })
    .await;
}

#[tokio::test]
async fn the_same_request_reserves_once() {
    on_each_database("idempotency", async |client| {
        let request = reserve(&[(A, 4)]);
        let results = join_all((0..8).map(|_| send(&client, request.clone()))).await;
        let first = results[0].as_ref().unwrap();
        assert!(
            results
                .iter()
                .all(|result| result.as_ref().unwrap() == first)
        );
        assert_eq!(stock(&client).await[0], (6, 4));
        let other = ReserveStockRequest {
            lines: reserve(&[(A, 1)]).lines,
            ..request
        };
        let status = send(&client, other).await.unwrap_err();
        assert_eq!(
            status::reason(&status).as_deref(),
            Some("REQUEST_ID_REUSED")
        );
    })
    .await;
}

#[tokio::test]
async fn a_reservation_expires() {
    on_each_database("expiry", async |mut client| {
        let request = ReserveStockRequest {
            time_to_live: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..reserve(&[(A, 10)])
        };
        let reservation = send(&client, request).await.unwrap();
        assert_eq!(stock(&client).await[0], (0, 10));
        let given_back = async {
            while stock(&client).await[0] != (10, 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), given_back)
            .await
            .unwrap();
        let request = ConfirmReservationRequest {
            name: reservation.name,
        };
        let status = client.confirm_reservation(request).await.unwrap_err();
        assert_eq!(status::reason(&status).as_deref(), Some("RESERVATION_GONE"));
    })
    .await;
}

#[tokio::test]
async fn doubled_lines_and_unknown_names_are_refused() {
    on_each_database("refusals", async |mut client| {
        let status = send(&client, reserve(&[(A, 1), (A, 1)])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("lines[1].variant"), "{status}");
        let request = ConfirmReservationRequest {
            name: "reservations/none".into(),
        };
        let status = client.confirm_reservation(request).await.unwrap_err();
        assert_eq!(
            status::reason(&status).as_deref(),
            Some("RESERVATION_NOT_FOUND")
        );
        let request = AdjustStockRequest {
            request_id: id(),
            variant: A.into(),
            change: -11,
        };
        let status = client.adjust_stock(request).await.unwrap_err();
        assert_eq!(status::reason(&status).as_deref(), Some("OUT_OF_STOCK"));
    })
    .await;
}
