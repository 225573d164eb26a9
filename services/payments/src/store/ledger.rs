//! The ledger's table: entries are added, never changed.

use service_kit::{Db, Money, StoreError, Tx, ids, params};
use sqlx::FromRow;

use crate::ledger::Movement;

/// One side of a movement, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: i64,
    /// The same for all entries of a movement.
    pub movement: String,
    /// The payment's id.
    pub payment: String,
    /// The account's name.
    pub account: String,
    /// The currency's code.
    pub currency: String,
    /// Negative where money leaves the account.
    pub minor_units: i64,
    /// Microseconds since 1970.
    pub create_time: i64,
}

/// Makes the database refuse to change or delete an entry. The two databases spell triggers too
/// differently for a common migration.
pub(super) async fn refuse_changes(db: &Db) -> Result<(), StoreError> {
    let statements: &[&'static str] = match db.kind() {
        "sqlite" => &[
            "CREATE TRIGGER IF NOT EXISTS ledger_never_changes BEFORE UPDATE ON ledger_entry \
             BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
            "CREATE TRIGGER IF NOT EXISTS ledger_never_shrinks BEFORE DELETE ON ledger_entry \
             BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        ],
        _ => &[
            "CREATE OR REPLACE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
            "CREATE OR REPLACE TRIGGER ledger_never_changes \
             BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry \
             FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()",
        ],
    };
    let mut tx = db.begin().await?;
    for statement in statements {
        tx.execute(*statement, params![]).await?;
    }
    tx.commit().await
}

/// Adds the entries of a movement, numbered on from the last. Write transactions run one after the
/// other, so the numbers have no gaps.
pub(super) async fn append(
    tx: &mut Tx,
    payment: &str,
    movement: Movement,
    amount: Money,
    now: i64,
) -> Result<(), StoreError> {
    let last = "SELECT CAST(COALESCE(MAX(sequence), 0) AS BIGINT) FROM ledger_entry";
    let (mut sequence,) = tx.fetch_one::<(i64,)>(last, params![]).await?;
    let id = ids::new_id();
    let currency = amount.currency().to_string();
    let entries = movement.entries(amount);
    if entries
        .iter()
        .map(|(_, minor)| i128::from(*minor))
        .sum::<i128>()
        != 0
    {
        return Err(super::corrupt("movement"));
    }
    for (account, minor_units) in entries {
        sequence += 1;
        let sql = "INSERT INTO ledger_entry (sequence, movement, payment, account, currency, \
                   minor_units, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = params![
            sequence,
            &id,
            payment,
            account.as_str(),
            &currency,
            minor_units,
            now
        ];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

pub(super) async fn page(db: &Db, after: i64, limit: i64) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT sequence, movement, payment, account, currency, minor_units, create_time \
               FROM ledger_entry WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    db.fetch_all(sql, params![after, limit]).await
}
