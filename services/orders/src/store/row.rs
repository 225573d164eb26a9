//! The row of an order, and what it means.

use service_kit::{Money, StoreError};
use sqlx::FromRow;

use crate::{
    order::{Item, Line, Order, Placement},
    saga::Saga,
};

/// Enums become a JSON string, such as `"paid"` with its quotes: one way in and out for all of them.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()).into())
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()).into())
}

#[derive(FromRow)]
pub(super) struct OrderRow {
    id: String,
    customer: String,
    request_id: String,
    lines: String,
    shipping_address: String,
    email: String,
    card_token: String,
    currency: String,
    minor_units: i64,
    state: String,
    history: String,
    step: String,
    attempts: i64,
    step_since: i64,
    reservation: Option<String>,
    payment: Option<String>,
    rejection: Option<String>,
    traceparent: String,
}

impl TryFrom<OrderRow> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow) -> Result<Self, StoreError> {
        let lines: Vec<Line> = from_json(&row.lines)?;
        let items: Vec<Item> = lines.iter().map(|line| line.item.clone()).collect();
        let total = Money::from_stored(row.minor_units, &row.currency);
        Ok(Self {
            id: row.id,
            placement: Placement {
                customer: row.customer,
                request_id: row.request_id,
                items,
                address: from_json(&row.shipping_address)?,
                email: row.email,
                card_token: row.card_token,
            },
            lines,
            total: total.map_err(|error| sqlx::Error::Decode(error.into()))?,
            history: from_json(&row.history)?,
            saga: Saga {
                state: from_json(&row.state)?,
                step: from_json(&row.step)?,
                attempts: row.attempts,
                step_since: row.step_since,
                reservation: row.reservation,
                payment: row.payment,
                rejection: row.rejection.as_deref().map(from_json).transpose()?,
            },
            traceparent: row.traceparent,
        })
    }
}
