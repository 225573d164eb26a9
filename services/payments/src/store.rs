//! Everything the service keeps, and all its SQL: cards' tokens and payments here, the ledger and the
//! local provider's books beside it.

mod ledger;
mod local_provider;
mod rows;

pub use ledger::Entry;
pub use local_provider::HoldState;

use service_kit::{Db, StoreError, Tx, ids, params, time::now_micros};

use crate::{
    card::Summary,
    payment::{Demand, Event, Payment, Stage},
};
use rows::{CardTokenRow, PaymentRow};

const PAYMENT: &str = "SELECT id, request_id, order_name, customer, card_token, provider_token, \
                       currency, minor_units, card_brand, card_last_four, stage, refund_request_id, \
                       create_time FROM payment";

/// The service's database. Cloning gives the same one.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// What stands for a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardToken {
    /// The last part of its name.
    pub id: String,
    /// Who may pay with it, `customers/{customer}`.
    pub customer: String,
    /// What stands for it at the provider.
    pub provider_token: String,
    /// What may be shown of the card.
    pub card: Summary,
    /// When the token ends, microseconds since 1970.
    pub expire_time: i64,
}

/// The parts of a new payment that come from its card.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// What stands for the card at the provider.
    pub provider_token: String,
    /// What may be shown of the card.
    pub card: Summary,
}

impl Store {
    /// Keeps everything in a database whose schema is up to date, and locks the ledger in it against
    /// changes.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn new(db: Db) -> Result<Self, StoreError> {
        ledger::refuse_changes(&db).await?;
        Ok(Self { db })
    }

    /// The database itself, for the kit.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Keeps a new token.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn add_card_token(&self, token: &CardToken) -> Result<(), StoreError> {
        let sql = "INSERT INTO card_token (id, customer, provider_token, brand, last_four, \
                   expiry_month, expiry_year, create_time, expire_time) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = params![
            &token.id,
            &token.customer,
            &token.provider_token,
            &token.card.brand,
            &token.card.last_four,
            token.card.expiry.month,
            token.card.expiry.year,
            now_micros(),
            token.expire_time,
        ];
        self.db.execute(sql, values).await.map(drop)
    }

    /// Reads a token.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn card_token(&self, id: &str) -> Result<Option<CardToken>, StoreError> {
        let sql = "SELECT id, customer, provider_token, brand, last_four, expiry_month, expiry_year, \
                   expire_time FROM card_token WHERE id = $1";
        let row = self
            .db
            .fetch_optional::<CardTokenRow>(sql, params![id])
            .await?;
        row.map(CardToken::try_from).transpose()
    }

    /// The payment that was asked for with a request id.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn payment_by_request(
        &self,
        request_id: &str,
    ) -> Result<Option<Payment>, StoreError> {
        let sql = format!("{PAYMENT} WHERE request_id = $1");
        let row = self
            .db
            .fetch_optional::<PaymentRow>(safe(sql), params![request_id])
            .await?;
        row.map(Payment::try_from).transpose()
    }

    /// The payment of this id, if money was ever held for it.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn payment(&self, id: &str) -> Result<Option<Payment>, StoreError> {
        let sql = format!("{PAYMENT} WHERE id = $1");
        let row = self
            .db
            .fetch_optional::<PaymentRow>(safe(sql), params![id])
            .await?;
        let payment = row.map(Payment::try_from).transpose()?;
        Ok(payment.filter(|payment| payment.stage.was_held()))
    }

    /// The payment that a refund's request id paid back.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn payment_by_refund(&self, request_id: &str) -> Result<Option<Payment>, StoreError> {
        let sql = format!("{PAYMENT} WHERE refund_request_id = $1");
        let row = self
            .db
            .fetch_optional::<PaymentRow>(safe(sql), params![request_id])
            .await?;
        row.map(Payment::try_from).transpose()
    }

    /// Writes down that the provider is about to be asked, unless the request id is known; returns
    /// what is written under it then.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn ask(
        &self,
        request_id: &str,
        demand: &Demand,
        instrument: &Instrument,
    ) -> Result<Payment, StoreError> {
        self.insert(request_id, Some((demand, instrument)), Stage::Asked)
            .await
    }

    /// Writes down that a request id must never hold anything, unless it is known; returns what is
    /// written under it then.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn close_unseen(&self, request_id: &str) -> Result<Payment, StoreError> {
        self.insert(request_id, None, Stage::Closed).await
    }

    async fn insert(
        &self,
        request_id: &str,
        what: Option<(&Demand, &Instrument)>,
        stage: Stage,
    ) -> Result<Payment, StoreError> {
        let sql = "INSERT INTO payment (id, request_id, order_name, customer, card_token, \
                   provider_token, currency, minor_units, card_brand, card_last_four, stage, \
                   create_time, update_time) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) \
                   ON CONFLICT (request_id) DO NOTHING";
        let currency = what.map(|(demand, _)| demand.amount.currency().to_string());
        let values = params![
            ids::new_id(),
            request_id,
            what.map_or("", |(demand, _)| demand.order.as_str()),
            what.map_or("", |(demand, _)| demand.customer.as_str()),
            what.map_or("", |(demand, _)| demand.card_token.as_str()),
            what.map_or("", |(_, instrument)| instrument.provider_token.as_str()),
            currency.unwrap_or_default(),
            what.map_or(0, |(demand, _)| demand.amount.minor_units()),
            what.map_or("", |(_, instrument)| instrument.card.brand.as_str()),
            what.map_or("", |(_, instrument)| instrument.card.last_four.as_str()),
            stage.as_str(),
            now_micros(),
        ];
        let mut tx = self.db.begin().await?;
        tx.execute(sql, values).await?;
        let payment = read(&mut tx, request_id).await?;
        tx.commit().await?;
        Ok(payment)
    }

    /// Writes down what the provider says has happened, with the movements of money that follow, in
    /// one transaction; returns the payment after it. `refund_request_id` goes with a refund.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn record(
        &self,
        request_id: &str,
        event: Event,
        refund_request_id: Option<&str>,
    ) -> Result<Payment, StoreError> {
        // Of many equal calls all but one find it written down: they need no turn to write.
        if let Some(known) = self.payment_by_request(request_id).await?
            && known.stage.after(event).0 == known.stage
        {
            return Ok(known);
        }
        let mut tx = self.db.begin().await?;
        let mut payment = read(&mut tx, request_id).await?;
        let (stage, movements) = payment.stage.after(event);
        if stage == payment.stage {
            return Ok(payment);
        }
        let now = now_micros();
        if let Some(demand) = &payment.demand {
            for movement in movements {
                ledger::append(&mut tx, &payment.id, *movement, demand.amount, now).await?;
            }
        }
        let sql = "UPDATE payment SET stage = $1, refund_request_id = $2, update_time = $3 \
                   WHERE request_id = $4";
        let values = params![
            stage.as_str(),
            refund_request_id.map(str::to_owned),
            now,
            request_id
        ];
        tx.execute(sql, values).await?;
        tx.commit().await?;
        payment.stage = stage;
        payment.refund_request_id = refund_request_id.map(str::to_owned);
        Ok(payment)
    }

    /// Entries of the ledger behind a sequence, in order.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn ledger(&self, after: i64, limit: i64) -> Result<Vec<Entry>, StoreError> {
        ledger::page(&self.db, after, limit).await
    }
}

async fn read(tx: &mut Tx, request_id: &str) -> Result<Payment, StoreError> {
    let sql = format!("{PAYMENT} WHERE request_id = $1");
    tx.fetch_one::<PaymentRow>(safe(sql), params![request_id])
        .await?
        .try_into()
}

/// The text is made of constants in this file; values are always bound.
fn safe(sql: String) -> service_kit::db::AssertSqlSafe<String> {
    service_kit::db::AssertSqlSafe(sql)
}

/// A stored value that this version does not understand.
fn corrupt(what: &str) -> StoreError {
    sqlx::Error::Decode(format!("stored {what} is not understood").into()).into()
}
