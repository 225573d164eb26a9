//! One database, SQLite or PostgreSQL, behind one set of methods.
//!
//! The same SQL text runs on both: `$1` placeholders, `BIGINT` for numbers, money and microseconds,
//! `TEXT` for ids, `BYTEA` for bytes, `BOOLEAN`, `CAST(SUM(x) AS BIGINT)`, no `CURRENT_TIMESTAMP`.
//!
//! **Write transactions run one after the other**, on SQLite because it has one writer, on PostgreSQL
//! by a lock of the whole database. So a transaction sees everything that was committed before it,
//! read-then-write needs no row locks, nothing has to be retried for a conflict, and the outbox's
//! order is the order of commits. The price: a transaction must be short and must not wait for
//! another service. Reads outside a transaction run in parallel and never wait for writers.

mod open;
mod statement;
mod tx;
mod value;

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::{FromRow, PgPool, SqlSafeStr, SqlStr, SqlitePool, postgres::PgRow, sqlite::SqliteRow};
use tokio::sync::Notify;

pub use open::Durability;
pub use sqlx::{AssertSqlSafe, migrate::Migrator};
pub use tx::Tx;
pub use value::Value;

use crate::StoreError;
use statement::Rows;
use tx::Inner;

/// How long a transaction waits for its turn.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// One round trip to PostgreSQL, since others wait meanwhile. The lock is any number that nobody else
/// uses in the database; it ends with the transaction.
const BEGIN_IN_TURN: &str = "BEGIN; SELECT pg_advisory_xact_lock(8603395313365513216)";

/// Something a row turns into: a `#[derive(sqlx::FromRow)]` struct or a tuple, such as `(i64,)`.
pub trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{}

/// A database. Cloning gives the same one.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    writer: Arc<tokio::sync::Mutex<()>>,
    appended: Arc<Notify>,
}

#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Pg(PgPool),
}

impl Db {
    /// Opens the database at `url` (`sqlite:///path/file.db` or `postgres://...`), creates the file and
    /// its folder if missing, and brings the schema up to date: the kit's own tables and `migrations`
    /// (`sqlx::migrate!()`), each under its own table of versions. Several processes may do this at the
    /// same time. A committed transaction survives a power loss.
    ///
    /// # Errors
    ///
    /// If the URL is wrong, the database does not answer or a migration fails.
    pub fn open<'a>(
        url: &'a str,
        migrations: &'a Migrator,
    ) -> BoxFuture<'a, Result<Self, StoreError>> {
        Self::open_with(url, migrations, Durability::Full)
    }

    /// Like [`Db::open`], with less durability for data that may be lost at a power loss.
    ///
    /// # Errors
    ///
    /// As [`Db::open`].
    pub fn open_with<'a>(
        url: &'a str,
        migrations: &'a Migrator,
        durability: Durability,
    ) -> BoxFuture<'a, Result<Self, StoreError>> {
        Box::pin(async move {
            let pool = open::open(url, migrations, durability).await?;
            Ok(Self {
                pool,
                writer: Arc::default(),
                appended: Arc::default(),
            })
        })
    }

    /// Starts a write transaction; it waits for its turn, at most 5 s. Dropping the transaction
    /// without [`Tx::commit`] undoes it.
    ///
    /// # Errors
    ///
    /// If the turn does not come or the database does not answer.
    pub fn begin(&self) -> BoxFuture<'_, Result<Tx, StoreError>> {
        Box::pin(async move {
            let started = tokio::time::timeout(WRITE_WAIT, self.begin_in_turn()).await;
            started.unwrap_or(Err(StoreError::Busy(WRITE_WAIT)))
        })
    }

    async fn begin_in_turn(&self) -> Result<Tx, StoreError> {
        // The turn inside this process is taken first: who waits holds no connection.
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let inner = match &self.pool {
            Pool::Sqlite(pool) => Inner::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Pg(pool) => Inner::Pg(pool.begin_with(BEGIN_IN_TURN).await?),
        };
        Ok(Tx::new(inner, Arc::clone(&self.appended), turn))
    }

    /// Runs one changing statement in its own transaction; returns the number of rows it touched.
    ///
    /// # Errors
    ///
    /// If the database refuses it or does not answer.
    pub fn execute(
        &self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let sql = sql.into_sql_str();
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let touched = tx.run(sql, params).await?;
            tx.commit().await?;
            Ok(touched)
        })
    }

    /// Reads all rows.
    ///
    /// # Errors
    ///
    /// If the database refuses the statement, does not answer, or a row does not fit `T`.
    pub async fn fetch_all<T: Row>(
        &self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(sql.into_sql_str(), params);
        rows.await?.decode()
    }

    /// Reads the first row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Db::fetch_all`].
    pub async fn fetch_optional<T: Row>(
        &self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.rows(sql.into_sql_str(), params);
        rows.await?.decode_first()
    }

    /// Reads the first row; there must be one.
    ///
    /// # Errors
    ///
    /// As [`Db::fetch_all`], and if there is no row.
    pub async fn fetch_one<T: Row>(
        &self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> Result<T, StoreError> {
        let rows = self.rows(sql.into_sql_str(), params);
        rows.await?
            .decode_first()?
            .ok_or(StoreError::Statement(sqlx::Error::RowNotFound))
    }

    fn rows(&self, sql: SqlStr, params: Vec<Value>) -> BoxFuture<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            Ok(match &self.pool {
                Pool::Sqlite(pool) => {
                    Rows::Sqlite(statement::sqlite(sql, params).fetch_all(pool).await?)
                }
                Pool::Pg(pool) => Rows::Pg(statement::pg(sql, params).fetch_all(pool).await?),
            })
        })
    }

    /// Waits until a transaction of this process added an event to the outbox.
    pub(crate) fn appended(&self) -> &Notify {
        &self.appended
    }

    /// `sqlite` or `postgresql`.
    pub fn kind(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "sqlite",
            Pool::Pg(_) => "postgresql",
        }
    }

    /// Waits for open connections to be given back and closes them; later calls fail.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match &self.pool {
                Pool::Sqlite(pool) => pool.close().await,
                Pool::Pg(pool) => pool.close().await,
            }
        })
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}
