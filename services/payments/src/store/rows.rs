//! Rows, and what they mean.

use service_kit::{Money, StoreError};
use sqlx::FromRow;

use super::{CardToken, corrupt};
use crate::{
    card::{Expiry, Summary},
    payment::{Demand, Payment, Stage},
};

#[derive(FromRow)]
pub(super) struct CardTokenRow {
    id: String,
    customer: String,
    provider_token: String,
    brand: String,
    last_four: String,
    expiry_month: i64,
    expiry_year: i64,
    expire_time: i64,
}

impl TryFrom<CardTokenRow> for CardToken {
    type Error = StoreError;

    fn try_from(row: CardTokenRow) -> Result<Self, StoreError> {
        let expiry = Expiry {
            month: i32::try_from(row.expiry_month).map_err(|_| corrupt("month"))?,
            year: i32::try_from(row.expiry_year).map_err(|_| corrupt("year"))?,
        };
        Ok(Self {
            id: row.id,
            customer: row.customer,
            provider_token: row.provider_token,
            card: Summary {
                brand: row.brand,
                last_four: row.last_four,
                expiry,
            },
            expire_time: row.expire_time,
        })
    }
}

#[derive(FromRow)]
pub(super) struct PaymentRow {
    id: String,
    request_id: String,
    order_name: String,
    customer: String,
    card_token: String,
    provider_token: String,
    currency: String,
    minor_units: i64,
    card_brand: String,
    card_last_four: String,
    stage: String,
    refund_request_id: Option<String>,
    create_time: i64,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        let demand = if row.order_name.is_empty() {
            None
        } else {
            let amount = Money::from_stored(row.minor_units, &row.currency);
            Some(Demand {
                order: row.order_name,
                customer: row.customer,
                card_token: row.card_token,
                amount: amount.map_err(|_| corrupt("currency"))?,
            })
        };
        Ok(Self {
            id: row.id,
            request_id: row.request_id,
            demand,
            provider_token: row.provider_token,
            card_brand: row.card_brand,
            card_last_four: row.card_last_four,
            stage: Stage::parse(&row.stage).ok_or_else(|| corrupt("stage"))?,
            refund_request_id: row.refund_request_id,
            create_time: row.create_time,
        })
    }
}
