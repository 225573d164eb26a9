//! The only file with SQL.

use std::{collections::BTreeMap, time::Duration};

use service_kit::{
    Db, StoreError, Tx,
    db::{AssertSqlSafe, Migrator},
    ids, params, time,
};

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Stock and reservations.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// Where a reservation is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The units are held.
    Reserved,
    /// The units are sold.
    Confirmed,
    /// The units were given back on request.
    Released,
    /// The units were given back because nobody confirmed in time.
    Expired,
}

/// A reservation as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reservation {
    /// The last part of its name.
    pub id: String,
    /// Where it is in its life.
    pub state: State,
    /// Microseconds since 1970.
    pub expire_time: i64,
    /// Variant and units.
    pub lines: Vec<(String, i64)>,
}

/// Why units were not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Short {
    /// Whose units are missing.
    pub variant: String,
    /// How many there are.
    pub available: i64,
}

impl State {
    const ALL: [(Self, &str); 4] = [
        (Self::Reserved, "reserved"),
        (Self::Confirmed, "confirmed"),
        (Self::Released, "released"),
        (Self::Expired, "expired"),
    ];

    fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(state, _)| *state == self)
            .map_or("", |(_, text)| text)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(state, _)| *state)
    }
}

impl Store {
    /// Uses a database whose schema is up to date.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Starts a change.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.db.begin().await
    }

    /// Fills an empty database; says whether it was.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn seed(&self, stock: &BTreeMap<String, i64>) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let sql = "SELECT variant FROM stock LIMIT 1";
        if tx
            .fetch_optional::<(String,)>(sql, params![])
            .await?
            .is_some()
        {
            return Ok(false);
        }
        for (variant, units) in stock {
            let sql = "INSERT INTO stock (variant, available, reserved) VALUES ($1, $2, 0)";
            tx.execute(sql, params![variant, *units]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Available and reserved units of those of `variants` that were ever stocked.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn stock(&self, variants: &[String]) -> Result<Vec<(String, i64, i64)>, StoreError> {
        let list: Vec<String> = (1..=variants.len())
            .map(|place| format!("${place}"))
            .collect();
        let sql = format!(
            "SELECT variant, available, reserved FROM stock WHERE variant IN ({})",
            list.join(", ")
        );
        let values = variants.iter().map(Into::into).collect();
        self.db.fetch_all(AssertSqlSafe(sql), values).await
    }

    /// Gives the units of every reservation that ended before `now` back; returns how many ended.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn expire(&self, now: i64) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM reservation WHERE state = 'reserved' AND expire_time <= $1 \
                   ORDER BY expire_time LIMIT 500";
        // Mostly there are none: then no writer is held up.
        let due: Vec<(String,)> = self.db.fetch_all(sql, params![now]).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let mut expired = 0;
        for (id,) in due {
            if let Some(reservation) = reservation(&mut tx, &id).await?
                && reservation.state == State::Reserved
            {
                give_back(&mut tx, &reservation, State::Expired).await?;
                expired += 1;
            }
        }
        tx.commit().await?;
        Ok(expired)
    }
}

/// Holds units of every line, or says which variant has too few.
///
/// # Errors
///
/// If the database refuses it.
pub async fn reserve(
    tx: &mut Tx,
    lines: Vec<(String, i64)>,
    time_to_live: Duration,
) -> Result<Result<Reservation, Short>, StoreError> {
    for (variant, quantity) in &lines {
        let sql = "UPDATE stock SET available = available - $2, reserved = reserved + $2 \
                   WHERE variant = $1 AND available >= $2";
        if tx.execute(sql, params![variant, *quantity]).await? == 0 {
            let available = units(tx, variant).await?.0;
            return Ok(Err(Short {
                variant: variant.clone(),
                available,
            }));
        }
    }
    let reservation = Reservation {
        id: ids::new_id(),
        state: State::Reserved,
        expire_time: time::now_micros() + time::micros(time_to_live),
        lines,
    };
    let sql = "INSERT INTO reservation (id, state, expire_time) VALUES ($1, 'reserved', $2)";
    tx.execute(sql, params![&reservation.id, reservation.expire_time])
        .await?;
    for (position, (variant, quantity)) in (0_i64..).zip(&reservation.lines) {
        let sql = "INSERT INTO reservation_line (reservation_id, position, variant, quantity) \
                   VALUES ($1, $2, $3, $4)";
        tx.execute(sql, params![&reservation.id, position, variant, *quantity])
            .await?;
    }
    Ok(Ok(reservation))
}

/// Reads a reservation.
///
/// # Errors
///
/// If the database does not answer.
pub async fn reservation(tx: &mut Tx, id: &str) -> Result<Option<Reservation>, StoreError> {
    let sql = "SELECT state, expire_time FROM reservation WHERE id = $1";
    let Some((state, expire_time)) = tx.fetch_optional::<(String, i64)>(sql, params![id]).await?
    else {
        return Ok(None);
    };
    let sql = "SELECT variant, quantity FROM reservation_line WHERE reservation_id = $1 \
               ORDER BY position";
    let lines = tx.fetch_all(sql, params![id]).await?;
    // Only this file writes states.
    let state = State::parse(&state).unwrap_or(State::Expired);
    Ok(Some(Reservation {
        id: id.to_owned(),
        state,
        expire_time,
        lines,
    }))
}

/// Sells the units of an open reservation.
///
/// # Errors
///
/// If the database refuses it.
pub async fn confirm(tx: &mut Tx, reservation: &Reservation) -> Result<(), StoreError> {
    for (variant, quantity) in &reservation.lines {
        let sql = "UPDATE stock SET reserved = reserved - $2 WHERE variant = $1";
        tx.execute(sql, params![variant, *quantity]).await?;
    }
    set_state(tx, &reservation.id, State::Confirmed).await
}

/// Gives the units of an open or confirmed reservation back.
///
/// # Errors
///
/// If the database refuses it.
pub async fn give_back(
    tx: &mut Tx,
    reservation: &Reservation,
    state: State,
) -> Result<(), StoreError> {
    for (variant, quantity) in &reservation.lines {
        let held = if reservation.state == State::Reserved {
            *quantity
        } else {
            0
        };
        let sql = "UPDATE stock SET available = available + $2, reserved = reserved - $3 \
                   WHERE variant = $1";
        tx.execute(sql, params![variant, *quantity, held]).await?;
    }
    set_state(tx, &reservation.id, state).await
}

/// Adds units, or removes available ones if there are so many; returns available and reserved then.
///
/// # Errors
///
/// If the database refuses it.
pub async fn adjust(
    tx: &mut Tx,
    variant: &str,
    change: i64,
) -> Result<Result<(i64, i64), Short>, StoreError> {
    let sql = "INSERT INTO stock (variant, available, reserved) VALUES ($1, 0, 0) \
               ON CONFLICT (variant) DO NOTHING";
    tx.execute(sql, params![variant]).await?;
    let sql = "UPDATE stock SET available = available + $2 \
               WHERE variant = $1 AND available + $2 >= 0";
    let changed = tx.execute(sql, params![variant, change]).await? == 1;
    let units = units(tx, variant).await?;
    if changed {
        Ok(Ok(units))
    } else {
        Ok(Err(Short {
            variant: variant.to_owned(),
            available: units.0,
        }))
    }
}

async fn units(tx: &mut Tx, variant: &str) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT available, reserved FROM stock WHERE variant = $1";
    Ok(tx
        .fetch_optional(sql, params![variant])
        .await?
        .unwrap_or_default())
}

async fn set_state(tx: &mut Tx, id: &str, state: State) -> Result<(), StoreError> {
    let sql = "UPDATE reservation SET state = $2 WHERE id = $1";
    tx.execute(sql, params![id, state.text()]).await?;
    Ok(())
}
