//! What a consumer keeps in its database: its place, and the events it gave up.

use super::{Consumer, Event};
use crate::{Db, StoreError, Tx, params, time};

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Parked {
    /// The consumer that gave it up.
    pub consumer: String,
    /// The service it came from.
    pub source: String,
    /// Its sequence there.
    pub sequence: i64,
    /// Its type.
    pub event_type: String,
    /// What it is about.
    pub event_key: String,
    /// The last error.
    pub error: String,
    /// When, in microseconds since 1970.
    pub parked_at: i64,
}

/// The events that were given up, oldest first, at most 1,000.
///
/// # Errors
///
/// If the database does not answer.
pub async fn parked(db: &Db) -> Result<Vec<Parked>, StoreError> {
    let sql = "SELECT consumer, source, sequence, event_type, event_key, error, parked_at \
               FROM kit_parked ORDER BY parked_at, sequence LIMIT 1000";
    db.fetch_all(sql, params![]).await
}

impl Consumer {
    pub(super) async fn park(
        &self,
        tx: &mut Tx,
        event: &Event,
        reason: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO kit_parked (consumer, source, sequence, id, event_type, event_key, \
                   payload, error, parked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let payload = event
            .payload
            .as_ref()
            .map(|any| any.value.clone())
            .unwrap_or_default();
        let values = params![
            &self.name,
            &self.source,
            event.sequence,
            &event.id,
            &event.r#type,
            &event.key,
            payload,
            reason,
            time::now_micros()
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }

    pub(super) async fn place(&self) -> Result<i64, StoreError> {
        let sql = "SELECT sequence FROM kit_cursors WHERE consumer = $1 AND source = $2";
        let row = self
            .db
            .fetch_optional::<(i64,)>(sql, params![&self.name, &self.source])
            .await?;
        Ok(row.map_or(0, |(sequence,)| sequence))
    }

    /// The place and the failures at the event behind it.
    pub(super) async fn locked_place(&self, tx: &mut Tx) -> Result<(i64, i64), StoreError> {
        let insert = "INSERT INTO kit_cursors (consumer, source, sequence, failures, updated_at) \
                      VALUES ($1, $2, 0, 0, $3) ON CONFLICT (consumer, source) DO NOTHING";
        tx.execute(
            insert,
            params![&self.name, &self.source, time::now_micros()],
        )
        .await?;
        let sql = "SELECT sequence, failures FROM kit_cursors WHERE consumer = $1 AND source = $2";
        tx.fetch_one(sql, params![&self.name, &self.source]).await
    }

    pub(super) async fn move_place(&self, tx: &mut Tx, sequence: i64) -> Result<(), StoreError> {
        let sql = "UPDATE kit_cursors SET sequence = $3, failures = 0, updated_at = $4 \
                   WHERE consumer = $1 AND source = $2";
        let values = params![&self.name, &self.source, sequence, time::now_micros()];
        tx.execute(sql, values).await?;
        Ok(())
    }
}
