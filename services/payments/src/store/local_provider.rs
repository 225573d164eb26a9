//! The local provider's books: a table of its own, never touched in a transaction of the service.

use service_kit::{Money, StoreError, Tx, params, time::now_micros};

use super::{Store, corrupt};

/// Where a hold stands in the local provider's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// The amount is held.
    Held,
    /// It was never held: declined.
    Declined,
    /// It was never held: given up before it was asked for.
    Closed,
    /// The amount was collected.
    Captured,
    /// The hold was given up.
    Voided,
    /// The amount was paid back.
    Refunded,
}

impl HoldState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Declined => "declined",
            Self::Closed => "closed",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        let all = [
            Self::Held,
            Self::Declined,
            Self::Closed,
            Self::Captured,
            Self::Voided,
            Self::Refunded,
        ];
        let found = all.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| corrupt("state of a hold"))
    }
}

impl Store {
    /// Enters a key into the books unless it is there; returns the state that is there then.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn provider_open(
        &self,
        key: &str,
        amount: Money,
        state: HoldState,
    ) -> Result<HoldState, StoreError> {
        let currency = amount.currency().to_string();
        self.provider_insert(key, &currency, amount.minor_units(), state)
            .await
    }

    /// Closes a key unless it is in the books; returns the state that is there then.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn provider_close(&self, key: &str) -> Result<HoldState, StoreError> {
        self.provider_insert(key, "", 0, HoldState::Closed).await
    }

    async fn provider_insert(
        &self,
        key: &str,
        currency: &str,
        minor_units: i64,
        state: HoldState,
    ) -> Result<HoldState, StoreError> {
        let known = "SELECT state FROM local_provider_hold WHERE key = $1";
        let row = self.db().fetch_optional::<(String,)>(known, params![key]);
        if let Some((state,)) = row.await? {
            return HoldState::parse(&state);
        }
        let sql = "INSERT INTO local_provider_hold (key, currency, minor_units, state, update_time) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO NOTHING";
        let values = params![key, currency, minor_units, state.as_str(), now_micros()];
        let mut tx = self.db().begin().await?;
        tx.execute(sql, values).await?;
        let found = read(&mut tx, key).await?;
        tx.commit().await?;
        found.ok_or_else(|| corrupt("hold"))
    }

    /// Moves a hold on if it is in the state `from`; returns the state that is there then, `None` if
    /// the key is not in the books.
    ///
    /// # Errors
    ///
    /// As any change.
    pub async fn provider_move(
        &self,
        key: &str,
        from: HoldState,
        to: HoldState,
    ) -> Result<Option<HoldState>, StoreError> {
        let sql = "UPDATE local_provider_hold SET state = $1, update_time = $2 \
                   WHERE key = $3 AND state = $4";
        let values = params![to.as_str(), now_micros(), key, from.as_str()];
        let mut tx = self.db().begin().await?;
        tx.execute(sql, values).await?;
        let found = read(&mut tx, key).await?;
        tx.commit().await?;
        Ok(found)
    }
}

async fn read(tx: &mut Tx, key: &str) -> Result<Option<HoldState>, StoreError> {
    let sql = "SELECT state FROM local_provider_hold WHERE key = $1";
    let row = tx.fetch_optional::<(String,)>(sql, params![key]).await?;
    row.map(|(state,)| HoldState::parse(&state)).transpose()
}
