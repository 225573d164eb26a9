//! The only file with SQL.

use service_kit::{Db, Money, StoreError, Tx, db::Migrator, params, time};

use crate::lines::Line;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Carts and their lines.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// A cart as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredCart {
    /// The last part of its name.
    pub id: String,
    /// `customers/{customer}`; `None` for a guest's.
    pub owner: Option<String>,
    /// In the order they were added.
    pub lines: Vec<Line>,
    /// Microseconds since 1970.
    pub update_time: i64,
}

/// A cart and one of its lines, or none.
#[derive(sqlx::FromRow)]
struct CartRow {
    owner: Option<String>,
    update_time: i64,
    line_id: Option<String>,
    variant: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    quantity: Option<i64>,
    unit_price: Option<i64>,
    currency: Option<String>,
}

/// One statement, so that it sees one state of the cart without a transaction.
const CART: &str = "SELECT c.owner, c.update_time, l.line_id, l.variant, l.title, l.detail, \
                    l.quantity, l.unit_price, l.currency \
                    FROM cart c LEFT JOIN cart_line l ON l.cart_id = c.id \
                    WHERE c.id = $1 ORDER BY l.position";

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

    /// Reads a cart.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn cart(&self, id: &str) -> Result<Option<StoredCart>, StoreError> {
        let rows = self.db.fetch_all(CART, params![id]).await?;
        Ok(stored_cart(id, rows))
    }

    /// Removes guests' carts that were last changed before `time`; returns how many.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn forget_guests(&self, time: i64) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let sql = "DELETE FROM cart_line WHERE cart_id IN \
                   (SELECT id FROM cart WHERE owner IS NULL AND update_time < $1)";
        tx.execute(sql, params![time]).await?;
        let sql = "DELETE FROM cart WHERE owner IS NULL AND update_time < $1";
        let count = tx.execute(sql, params![time]).await?;
        let sql = "DELETE FROM merged_cart WHERE merge_time < $1";
        tx.execute(sql, params![time]).await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// Reads a cart inside a change.
///
/// # Errors
///
/// If the database does not answer.
pub async fn cart(tx: &mut Tx, id: &str) -> Result<Option<StoredCart>, StoreError> {
    let rows = tx.fetch_all(CART, params![id]).await?;
    Ok(stored_cart(id, rows))
}

fn stored_cart(id: &str, rows: Vec<CartRow>) -> Option<StoredCart> {
    let first = rows.first()?;
    let (owner, update_time) = (first.owner.clone(), first.update_time);
    Some(StoredCart {
        id: id.to_owned(),
        owner,
        lines: rows.into_iter().filter_map(line).collect(),
        update_time,
    })
}

/// The line of a row; an empty cart has one row without.
fn line(row: CartRow) -> Option<Line> {
    Some(Line {
        id: row.line_id?,
        variant: row.variant?,
        title: row.title?,
        detail: row.detail?,
        quantity: row.quantity?,
        // Only this file writes prices, from valid ones.
        unit_price: Money::from_stored(row.unit_price?, &row.currency?).ok()?,
    })
}

/// Writes a cart with all its lines, and its time of change.
///
/// # Errors
///
/// If the database refuses it.
pub async fn put(tx: &mut Tx, cart: &mut StoredCart) -> Result<(), StoreError> {
    cart.update_time = time::now_micros();
    let sql = "INSERT INTO cart (id, owner, update_time) VALUES ($1, $2, $3) \
               ON CONFLICT (id) DO UPDATE SET update_time = $3";
    tx.execute(
        sql,
        params![&cart.id, cart.owner.as_deref(), cart.update_time],
    )
    .await?;
    tx.execute(
        "DELETE FROM cart_line WHERE cart_id = $1",
        params![&cart.id],
    )
    .await?;
    for (position, line) in (0_i64..).zip(&cart.lines) {
        let sql = "INSERT INTO cart_line (cart_id, line_id, position, variant, title, detail, \
                   quantity, unit_price, currency) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = params![
            &cart.id,
            &line.id,
            position,
            &line.variant,
            &line.title,
            &line.detail,
            line.quantity,
            line.unit_price.minor_units(),
            line.unit_price.currency().as_str()
        ];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// Removes a guest's cart that went into `owner`'s.
///
/// # Errors
///
/// If the database refuses it.
pub async fn remove_merged(tx: &mut Tx, id: &str, owner: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM cart_line WHERE cart_id = $1", params![id])
        .await?;
    tx.execute("DELETE FROM cart WHERE id = $1", params![id])
        .await?;
    let sql = "INSERT INTO merged_cart (id, owner, merge_time) VALUES ($1, $2, $3)";
    tx.execute(sql, params![id, owner, time::now_micros()])
        .await?;
    Ok(())
}

/// Whether a guest's cart went into `owner`'s before.
///
/// # Errors
///
/// If the database does not answer.
pub async fn was_merged(tx: &mut Tx, id: &str, owner: &str) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM merged_cart WHERE id = $1 AND owner = $2";
    Ok(tx
        .fetch_optional::<(String,)>(sql, params![id, owner])
        .await?
        .is_some())
}
