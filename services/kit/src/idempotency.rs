//! Commands that may be sent twice and act once.
//!
//! The first result of a command is kept with its request id, in the transaction that makes its
//! effect. Failures are not kept: the caller may try again.
//!
//! ```no_run
//! # use service_kit::{Db, StoreError, idempotency::Key};
//! # async fn example(db: &Db, customer: &str, request: prost_types::Timestamp) -> Result<prost_types::Timestamp, tonic::Status> {
//! # let request_id = "";
//! let key = Key::new("orders.PlaceOrder", customer, request_id, &request)?;
//! let mut tx = db.begin().await?;
//! if let Some(first) = key.recorded(&mut tx).await? {
//!     return Ok(first);
//! }
//! let response = request; // do the work in `tx`
//! key.record(&mut tx, &response).await?;
//! tx.commit().await?;
//! # Ok(response)
//! # }
//! ```

use std::time::Duration;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::{Db, StoreError, Tx, ids, params, status, time};

/// How long results are kept: twice what contracts promise.
pub const RETENTION: Duration = Duration::from_secs(48 * 3600);

/// Names one command of one caller, and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    scope: String,
    request_id: String,
    fingerprint: [u8; 32],
}

impl Key {
    /// `method` and `caller` (a subject, or any other text that keeps callers apart) make the scope in
    /// which `request_id` must be unique. `request` is what must be equal when it comes again.
    ///
    /// A hash of `request` is stored. If the request holds a secret of few bits, such as a card
    /// number, pass a copy without it: the hash would give it away.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` on `request_id` if it is not a UUID.
    pub fn new(
        method: &str,
        caller: &str,
        request_id: &str,
        request: &impl Message,
    ) -> Result<Self, Status> {
        if !ids::is_uuid(request_id) {
            return Err(status::invalid("request_id", "must be a UUID"));
        }
        Ok(Self {
            scope: format!("{method} {caller}"),
            request_id: request_id.to_ascii_lowercase(),
            fingerprint: Sha256::digest(request.encode_to_vec()).into(),
        })
    }

    /// The request id, in lower case.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The first result, if the command was done before.
    ///
    /// # Errors
    ///
    /// [`StoreError::RequestIdReused`] if the request was another one, and what a read can fail with.
    pub async fn recorded<R: Message + Default>(
        &self,
        tx: &mut Tx,
    ) -> Result<Option<R>, StoreError> {
        let sql = "SELECT fingerprint, response FROM kit_idempotency \
                   WHERE scope = $1 AND request_id = $2";
        let row = tx
            .fetch_optional::<(Vec<u8>, Vec<u8>)>(sql, params![&self.scope, &self.request_id])
            .await?;
        let Some((fingerprint, response)) = row else {
            return Ok(None);
        };
        if fingerprint != self.fingerprint {
            return Err(StoreError::RequestIdReused(self.request_id.clone()));
        }
        let response = R::decode(response.as_slice());
        response
            .map(Some)
            .map_err(|error| StoreError::Corrupt("response", error))
    }

    /// Keeps the result of a command that was done for the first time.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn record(&self, tx: &mut Tx, response: &impl Message) -> Result<(), StoreError> {
        let sql = "INSERT INTO kit_idempotency \
                   (scope, request_id, fingerprint, response, created_at) \
                   VALUES ($1, $2, $3, $4, $5)";
        let values = params![
            &self.scope,
            &self.request_id,
            self.fingerprint,
            response.encode_to_vec(),
            time::now_micros()
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }
}

/// Forgets results older than [`RETENTION`]; [`crate::Server`] calls it every hour. Returns how many.
///
/// # Errors
///
/// If the database refuses it.
pub async fn forget_old(db: &Db) -> Result<u64, StoreError> {
    let oldest = time::now_micros() - time::micros(RETENTION);
    db.execute(
        "DELETE FROM kit_idempotency WHERE created_at < $1",
        params![oldest],
    )
    .await
}
