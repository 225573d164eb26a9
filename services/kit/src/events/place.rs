//! What a consumer keeps of its way: how far it has come.

use super::Consumer;
use crate::{StoreError, Tx, params, time};

impl Consumer {
    pub(super) async fn place(&self) -> Result<i64, StoreError> {
        let sql = "SELECT sequence FROM kit_cursor WHERE consumer = $1 AND source = $2";
        let row = self
            .db
            .fetch_optional::<(i64,)>(sql, params![&self.name, &self.source])
            .await?;
        Ok(row.map_or(0, |(sequence,)| sequence))
    }

    /// Counts a failure at the event behind the place.
    pub(super) async fn count_failure(&self, tx: &mut Tx, failures: i64) -> Result<(), StoreError> {
        let sql = "UPDATE kit_cursor SET failures = $3 WHERE consumer = $1 AND source = $2";
        let values = params![&self.name, &self.source, failures];
        tx.execute(sql, values).await?;
        Ok(())
    }

    /// The place and the failures at the event behind it.
    pub(super) async fn locked_place(&self, tx: &mut Tx) -> Result<(i64, i64), StoreError> {
        let insert = "INSERT INTO kit_cursor (consumer, source, sequence, failures, updated_at) \
                      VALUES ($1, $2, 0, 0, $3) ON CONFLICT (consumer, source) DO NOTHING";
        tx.execute(
            insert,
            params![&self.name, &self.source, time::now_micros()],
        )
        .await?;
        let sql = "SELECT sequence, failures FROM kit_cursor WHERE consumer = $1 AND source = $2";
        tx.fetch_one(sql, params![&self.name, &self.source]).await
    }

    pub(super) async fn move_place(&self, tx: &mut Tx, sequence: i64) -> Result<(), StoreError> {
        let sql = "UPDATE kit_cursor SET sequence = $3, failures = 0, updated_at = $4 \
                   WHERE consumer = $1 AND source = $2";
        let values = params![&self.name, &self.source, sequence, time::now_micros()];
        tx.execute(sql, values).await?;
        Ok(())
    }
}
