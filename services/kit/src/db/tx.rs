//! Write transactions.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use sqlx::{Postgres, SqlSafeStr, SqlStr, Sqlite, Transaction};
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    Row, Value,
    statement::{self, Rows},
};
use crate::StoreError;

/// A write transaction. Nothing it does is there before [`Tx::commit`] returned.
pub struct Tx {
    // Dropped first, so that the connection starts to roll back before the turn is given on.
    inner: Inner,
    appended: bool,
    notify: Arc<Notify>,
    _turn: OwnedMutexGuard<()>,
}

pub(super) enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Pg(Transaction<'static, Postgres>),
}

impl Tx {
    pub(super) fn new(inner: Inner, notify: Arc<Notify>, turn: OwnedMutexGuard<()>) -> Self {
        Self {
            inner,
            appended: false,
            notify,
            _turn: turn,
        }
    }

    /// Runs a changing statement; returns the number of rows it touched.
    ///
    /// # Errors
    ///
    /// If the database refuses it or does not answer. The transaction is lost then on PostgreSQL; do
    /// not go on with it.
    pub fn execute(
        &mut self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let sql = sql.into_sql_str();
        Box::pin(self.run(sql, params))
    }

    pub(super) async fn run(&mut self, sql: SqlStr, params: Vec<Value>) -> Result<u64, StoreError> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => statement::sqlite(sql, params)
                .execute(&mut **tx)
                .await?
                .rows_affected(),
            Inner::Pg(tx) => statement::pg(sql, params)
                .execute(&mut **tx)
                .await?
                .rows_affected(),
        })
    }

    /// Reads all rows, also those of `INSERT ... RETURNING`.
    ///
    /// # Errors
    ///
    /// If the database refuses the statement, does not answer, or a row does not fit `T`.
    pub async fn fetch_all<T: Row>(
        &mut self,
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
    /// As [`Tx::fetch_all`].
    pub async fn fetch_optional<T: Row>(
        &mut self,
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
    /// As [`Tx::fetch_all`], and if there is no row.
    pub async fn fetch_one<T: Row>(
        &mut self,
        sql: impl SqlSafeStr,
        params: Vec<Value>,
    ) -> Result<T, StoreError> {
        let rows = self.rows(sql.into_sql_str(), params);
        rows.await?
            .decode_first()?
            .ok_or(StoreError::Statement(sqlx::Error::RowNotFound))
    }

    fn rows(&mut self, sql: SqlStr, params: Vec<Value>) -> BoxFuture<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            Ok(match &mut self.inner {
                Inner::Sqlite(tx) => {
                    Rows::Sqlite(statement::sqlite(sql, params).fetch_all(&mut **tx).await?)
                }
                Inner::Pg(tx) => Rows::Pg(statement::pg(sql, params).fetch_all(&mut **tx).await?),
            })
        })
    }

    pub(crate) fn mark_appended(&mut self) {
        self.appended = true;
    }

    /// Makes the transaction's changes durable and visible.
    ///
    /// # Errors
    ///
    /// If the database does not answer: the changes may be there or not, so the caller must be able to
    /// ask again (see [`crate::idempotency`]).
    pub fn commit(self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let Self {
                inner,
                appended,
                notify,
                _turn,
            } = self;
            match inner {
                Inner::Sqlite(tx) => tx.commit().await?,
                Inner::Pg(tx) => tx.commit().await?,
            }
            if appended {
                notify.notify_waiters();
            }
            Ok(())
        })
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
