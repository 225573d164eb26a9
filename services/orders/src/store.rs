//! Everything the service keeps, and all its SQL.
//!
//! An order is one row, replaced as a whole under a lease: whoever runs the saga of an order holds its
//! lease, and a change by anybody else, or after the lease was taken over, touches no row.

mod row;

use std::time::Duration;

use crate::{
    message,
    order::{Order, Placement},
};
use contracts::sockshop::orders::v1::OrderEvent;
use row::{OrderRow, json};
use service_kit::{
    Db, StoreError,
    db::AssertSqlSafe,
    outbox, params,
    time::{micros, now_micros},
};

/// The type of the events in the outbox.
pub const EVENT_TYPE: &str = "sockshop.orders.v1.OrderEvent";

const ORDER: &str = "SELECT id, customer, request_id, lines, shipping_address, email, card_token, \
                     currency, minor_units, state, history, step, attempts, step_since, reservation, \
                     payment, rejection, traceparent FROM orders";

/// The service's database. Cloning gives the same one.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// Who runs an order, and for how long nobody else may.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Another one for every run.
    pub owner: String,
    /// How long it is good from the moment it is written.
    pub length: Duration,
}

/// What came of placing an order.
#[derive(Clone, Debug)]
pub enum Placed {
    /// It is new.
    New,
    /// The request id had placed this order before.
    Before(Box<Order>),
    /// The request id had placed another order before.
    Reused,
}

impl Store {
    /// Keeps everything in a database whose schema is up to date.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// What the customer placed with this request id before: [`Placed::New`] if nothing.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn placed(&self, placement: &Placement) -> Result<Placed, StoreError> {
        let sql = "SELECT id, fingerprint FROM orders WHERE customer = $1 AND request_id = $2";
        let values = params![&placement.customer, &placement.request_id];
        let Some((id, fingerprint)) = self
            .db
            .fetch_optional::<(String, String)>(sql, values)
            .await?
        else {
            return Ok(Placed::New);
        };
        if fingerprint != placement.fingerprint() {
            return Ok(Placed::Reused);
        }
        let order = self.order(&id).await?;
        Ok(order.map_or(Placed::New, |order| Placed::Before(Box::new(order))))
    }

    /// Writes a new order down, leased if there is a lease, unless the customer's request id is taken.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn place(&self, order: &Order, lease: Option<&Lease>) -> Result<Placed, StoreError> {
        let sql = "INSERT INTO orders (id, customer, request_id, fingerprint, lines, \
                   shipping_address, email, card_token, currency, minor_units, state, history, \
                   create_time, update_time, step, attempts, step_since, due_time, lease_owner, \
                   lease_until, traceparent) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, \
                   $13, $13, $16, $17, $18) ON CONFLICT (customer, request_id) DO NOTHING";
        let placement = &order.placement;
        let values = params![
            &order.id,
            &placement.customer,
            &placement.request_id,
            placement.fingerprint(),
            json(&order.lines)?,
            json(&placement.address)?,
            &placement.email,
            &placement.card_token,
            order.total.currency().to_string(),
            order.total.minor_units(),
            json(&order.saga.state)?,
            json(&order.history)?,
            order.create_time(),
            json(&order.saga.step)?,
            order.saga.attempts,
            lease.map_or("", |lease| lease.owner.as_str()),
            lease.map_or(0, |lease| now_micros() + micros(lease.length)),
            &order.traceparent,
        ];
        if self.db.execute(sql, values).await? == 1 {
            return Ok(Placed::New);
        }
        self.placed(placement).await
    }

    /// Reads an order.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let sql = AssertSqlSafe(format!("{ORDER} WHERE id = $1"));
        let row = self.db.fetch_optional::<OrderRow>(sql, params![id]).await?;
        row.map(Order::try_from).transpose()
    }

    /// A customer's orders, newest first, behind the position of `after`: creation time and id.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn orders(
        &self,
        customer: &str,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<Order>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "{ORDER} WHERE customer = $1 AND (create_time, id) < ($2, $3) \
             ORDER BY create_time DESC, id DESC LIMIT $4"
        ));
        let (time, id) = after.unwrap_or((i64::MAX, String::new()));
        let rows = self
            .db
            .fetch_all::<OrderRow>(sql, params![customer, time, id, limit])
            .await?;
        rows.into_iter().map(Order::try_from).collect()
    }

    /// Orders whose next step is due and that nobody runs, the longest due first.
    ///
    /// # Errors
    ///
    /// As any read.
    pub async fn due(&self, limit: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM orders WHERE due_time <= $1 AND lease_until <= $1 \
                   ORDER BY due_time LIMIT $2";
        let rows = self
            .db
            .fetch_all::<(String,)>(sql, params![now_micros(), limit])
            .await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Takes the lease of an order and reads it, unless it is not due or somebody else has the lease.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn lease(&self, id: &str, lease: &Lease) -> Result<Option<Order>, StoreError> {
        let sql = "UPDATE orders SET lease_owner = $1, lease_until = $2 \
                   WHERE id = $3 AND due_time <= $4 AND lease_until <= $4";
        let now = now_micros();
        let values = params![&lease.owner, now + micros(lease.length), id, now];
        if self.db.execute(sql, values).await? == 0 {
            return Ok(None);
        }
        self.order(id).await
    }

    /// Replaces an order by what it has become, with its event if it has come to its final state, in
    /// one transaction. The lease is kept for `wait` and its own length, or given back if `keep` is
    /// false; the next step is due after `wait`, never if that is `None`. Returns whether the lease
    /// still held; if not, nothing has changed.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn advance(
        &self,
        before: &Order,
        after: &Order,
        lease: &Lease,
        wait: Option<Duration>,
        keep: bool,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE orders SET state = $1, history = $2, update_time = $3, step = $4, \
                   attempts = $5, step_since = $6, reservation = $7, payment = $8, rejection = $9, \
                   card_token = $10, due_time = $11, lease_until = $12 \
                   WHERE id = $13 AND lease_owner = $14";
        let now = now_micros();
        let saga = &after.saga;
        let due = wait.map(|wait| now + micros(wait));
        let lease_until = match due {
            Some(due) if keep => due + micros(lease.length),
            _ => 0,
        };
        let values = params![
            json(&saga.state)?,
            json(&after.history)?,
            after.update_time(),
            json(&saga.step)?,
            saga.attempts,
            saga.step_since,
            saga.reservation.clone(),
            saga.payment.clone(),
            saga.rejection.as_ref().map(json).transpose()?,
            &after.placement.card_token,
            due,
            lease_until,
            &after.id,
            &lease.owner,
        ];
        let mut tx = self.db.begin().await?;
        if tx.execute(sql, values).await? == 0 {
            return Ok(false);
        }
        if saga.state.is_final() && !before.saga.state.is_final() {
            let event = OrderEvent {
                order: Some(message::order(after)),
            };
            outbox::append(&mut tx, EVENT_TYPE, &after.name(), &event).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a lease back, so that another process need not wait for its end.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn release(&self, id: &str, lease: &Lease) -> Result<(), StoreError> {
        let sql = "UPDATE orders SET lease_until = 0 WHERE id = $1 AND lease_owner = $2";
        self.db
            .execute(sql, params![id, &lease.owner])
            .await
            .map(drop)
    }
}
