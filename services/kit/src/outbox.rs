//! Events that leave with the transaction that caused them.
//!
//! An event is kept for [`RETENTION`], whoever has read it: the outbox knows no consumers. One that was
//! away for longer is refused by name (`EVENTS_FORGOTTEN`) and never skips an event silently.

use std::time::Duration;

use prost::Message;

use crate::{Db, StoreError, Tx, ids, params, time};

/// How long events are kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Events that are forgotten in one transaction, so that no writer waits for long.
const FORGET_AT_ONCE: i64 = 1_000;

/// Adds an event to the outbox; it is told if and only if the transaction is committed. Returns its
/// sequence. `event_type` is the full name of the payload's message type, `key` the resource it is
/// about. The current trace goes with it.
///
/// # Errors
///
/// If the database refuses it.
pub async fn append(
    tx: &mut Tx,
    event_type: &str,
    key: &str,
    payload: &impl Message,
) -> Result<i64, StoreError> {
    append_encoded(tx, event_type, key, payload.encode_to_vec()).await
}

async fn append_encoded(
    tx: &mut Tx,
    event_type: &str,
    key: &str,
    payload: Vec<u8>,
) -> Result<i64, StoreError> {
    let next = "UPDATE kit_outbox_head SET sequence = sequence + 1 WHERE id = 1 RETURNING sequence";
    let (sequence,) = tx.fetch_one::<(i64,)>(next, params![]).await?;
    let insert = "INSERT INTO kit_outbox \
                  (sequence, id, event_type, event_key, payload, traceparent, created_at) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let traceparent = weft_runtime::trace::traceparent().unwrap_or_default();
    let values = params![
        sequence,
        ids::new_id(),
        event_type,
        key,
        payload,
        traceparent,
        time::now_micros()
    ];
    tx.execute(insert, values).await?;
    tx.mark_appended();
    Ok(sequence)
}

/// Forgets events older than [`RETENTION`], always from the first on, and remembers for each type how
/// far that went; [`crate::Server`] calls it every hour. Returns how many.
///
/// # Errors
///
/// If the database refuses it.
pub async fn forget_old(db: &Db) -> Result<u64, StoreError> {
    let oldest = time::now_micros() - time::micros(RETENTION);
    let mut forgotten = 0;
    loop {
        let first = "SELECT sequence, created_at FROM kit_outbox ORDER BY sequence LIMIT $1";
        let rows: Vec<(i64, i64)> = db.fetch_all(first, params![FORGET_AT_ONCE]).await?;
        let old = rows.iter().take_while(|(_, created)| *created < oldest);
        let Some((last, _)) = old.last() else {
            return Ok(forgotten);
        };
        forgotten += forget_through(db, *last).await?;
    }
}

async fn forget_through(db: &Db, last: i64) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let remember = "INSERT INTO kit_outbox_forgotten (event_type, sequence) \
                    SELECT event_type, MAX(sequence) FROM kit_outbox WHERE sequence <= $1 \
                    GROUP BY event_type \
                    ON CONFLICT (event_type) DO UPDATE SET sequence = excluded.sequence";
    tx.execute(remember, params![last]).await?;
    let forget = "DELETE FROM kit_outbox WHERE sequence <= $1";
    let count = tx.execute(forget, params![last]).await?;
    tx.commit().await?;
    Ok(count)
}
