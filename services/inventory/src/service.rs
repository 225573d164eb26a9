//! The generated trait: check the request, change the stock in one transaction, answer.

use std::{collections::BTreeSet, time::Duration};

use contracts::sockshop::inventory::v1::{
    AdjustStockRequest, AdjustStockResponse, BatchGetStockRequest, BatchGetStockResponse,
    ConfirmReservationRequest, ConfirmReservationResponse, ReleaseReservationRequest,
    ReleaseReservationResponse, Reservation, ReservationLine, ReservationState,
    ReserveStockRequest, ReserveStockResponse, Stock, inventory_service_server::InventoryService,
};
use service_kit::{idempotency::Key, status, time, validate};
use tonic::{Request, Response, Status};

use crate::store::{self, Short, State, Store};

const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_secs(15 * 60);

/// Answers from a store.
#[derive(Debug)]
pub struct Inventory {
    store: Store,
}

impl Inventory {
    /// Answers from `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn batch_get_stock(
        &self,
        request: Request<BatchGetStockRequest>,
    ) -> Result<Response<BatchGetStockResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let known = self.store.stock(&request.variants).await?;
        let stock = request.variants.into_iter().map(|variant| {
            let row = known.iter().find(|row| row.0 == variant);
            let (available, reserved) = row.map_or((0, 0), |row| (row.1, row.2));
            stock(variant, available, reserved)
        });
        Ok(Response::new(BatchGetStockResponse {
            stock: stock.collect(),
        }))
    }

    async fn reserve_stock(
        &self,
        request: Request<ReserveStockRequest>,
    ) -> Result<Response<ReserveStockResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let mut seen = BTreeSet::new();
        for (index, line) in request.lines.iter().enumerate() {
            if !seen.insert(&line.variant) {
                let field = format!("lines[{index}].variant");
                return Err(status::invalid(field, "is in another line already"));
            }
        }
        let time_to_live = request
            .time_to_live
            .and_then(|time_to_live| Duration::try_from(time_to_live).ok())
            .unwrap_or(DEFAULT_TIME_TO_LIVE);
        let key = Key::new("inventory.ReserveStock", "", &request.request_id, &request)?;
        let mut tx = self.store.begin().await?;
        if let Some(first) = key.recorded::<ReserveStockResponse>(&mut tx).await? {
            return Ok(Response::new(first));
        }
        let lines = request
            .lines
            .into_iter()
            .map(|line| (line.variant, i64::from(line.quantity)))
            .collect();
        let reserved = store::reserve(&mut tx, lines, time_to_live)
            .await?
            .map_err(out_of_stock)?;
        let response = ReserveStockResponse {
            reservation: Some(message(reserved)),
        };
        key.record(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn confirm_reservation(
        &self,
        request: Request<ConfirmReservationRequest>,
    ) -> Result<Response<ConfirmReservationResponse>, Status> {
        let name = request.get_ref().name.clone();
        validate(request.get_ref())?;
        let mut tx = self.store.begin().await?;
        let mut found = store::reservation(&mut tx, id_of(&name))
            .await?
            .ok_or_else(|| status::not_found(&name))?;
        let open = found.state == State::Reserved && found.expire_time > time::now_micros();
        if open {
            store::confirm(&mut tx, &found).await?;
            tx.commit().await?;
            found.state = State::Confirmed;
        } else if found.state != State::Confirmed {
            let message = format!("`{name}` was released or has expired");
            return Err(status::failed_precondition("RESERVATION_GONE", message, []));
        }
        Ok(Response::new(ConfirmReservationResponse {
            reservation: Some(message(found)),
        }))
    }

    async fn release_reservation(
        &self,
        request: Request<ReleaseReservationRequest>,
    ) -> Result<Response<ReleaseReservationResponse>, Status> {
        let name = request.get_ref().name.clone();
        validate(request.get_ref())?;
        let mut tx = self.store.begin().await?;
        let mut found = store::reservation(&mut tx, id_of(&name))
            .await?
            .ok_or_else(|| status::not_found(&name))?;
        if matches!(found.state, State::Reserved | State::Confirmed) {
            store::give_back(&mut tx, &found, State::Released).await?;
            tx.commit().await?;
            found.state = State::Released;
        }
        Ok(Response::new(ReleaseReservationResponse {
            reservation: Some(message(found)),
        }))
    }

    async fn adjust_stock(
        &self,
        request: Request<AdjustStockRequest>,
    ) -> Result<Response<AdjustStockResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let key = Key::new("inventory.AdjustStock", "", &request.request_id, &request)?;
        let mut tx = self.store.begin().await?;
        if let Some(first) = key.recorded::<AdjustStockResponse>(&mut tx).await? {
            return Ok(Response::new(first));
        }
        let (available, reserved) =
            store::adjust(&mut tx, &request.variant, i64::from(request.change))
                .await?
                .map_err(out_of_stock)?;
        let response = AdjustStockResponse {
            stock: Some(stock(request.variant, available, reserved)),
        };
        key.record(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }
}

fn id_of(name: &str) -> &str {
    name.strip_prefix("reservations/").unwrap_or(name)
}

fn stock(variant: String, available: i64, reserved: i64) -> Stock {
    let units = |count| i32::try_from(count).unwrap_or(i32::MAX);
    Stock {
        variant,
        available: units(available),
        reserved: units(reserved),
    }
}

fn message(reservation: store::Reservation) -> Reservation {
    let state = match reservation.state {
        State::Reserved => ReservationState::Reserved,
        State::Confirmed => ReservationState::Confirmed,
        State::Released => ReservationState::Released,
        State::Expired => ReservationState::Expired,
    };
    let lines = reservation
        .lines
        .into_iter()
        .map(|(variant, quantity)| ReservationLine {
            variant,
            quantity: i32::try_from(quantity).unwrap_or(i32::MAX),
        });
    Reservation {
        name: format!("reservations/{}", reservation.id),
        lines: lines.collect(),
        state: state.into(),
        expire_time: Some(time::to_timestamp(reservation.expire_time)),
    }
}

fn out_of_stock(short: Short) -> Status {
    let available = short.available.to_string();
    status::failed_precondition(
        "OUT_OF_STOCK",
        format!("only {available} units of `{}` are left", short.variant),
        [
            ("variant", short.variant.as_str()),
            ("available", available.as_str()),
        ],
    )
}
