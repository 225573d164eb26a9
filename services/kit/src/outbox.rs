//! Events that leave with the transaction that caused them.

use prost::Message;

use crate::{StoreError, Tx, ids, params, time};

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
