//! Binding and decoding, which are the only things that differ between the two databases.

use sqlx::{
    Postgres, SqlStr, Sqlite,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{Row, Value};
use crate::StoreError;

macro_rules! bind {
    ($query:expr, $params:expr) => {
        $params
            .into_iter()
            .fold($query, |query, value| match value {
                Value::Bool(value) => query.bind(value),
                Value::Int(value) => query.bind(value),
                Value::Real(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            })
    };
}

pub(super) fn sqlite(sql: SqlStr, params: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    bind!(sqlx::query::<Sqlite>(sql), params)
}

pub(super) fn pg(sql: SqlStr, params: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    bind!(sqlx::query::<Postgres>(sql), params)
}

/// Rows of either database, not yet decoded.
pub(super) enum Rows {
    Sqlite(Vec<SqliteRow>),
    Pg(Vec<PgRow>),
}

impl Rows {
    pub(super) fn decode<T: Row>(self) -> Result<Vec<T>, StoreError> {
        let decoded = match self {
            Self::Sqlite(rows) => rows
                .iter()
                .map(T::from_row)
                .collect::<Result<_, sqlx::Error>>(),
            Self::Pg(rows) => rows.iter().map(T::from_row).collect(),
        };
        decoded.map_err(StoreError::from)
    }

    pub(super) fn decode_first<T: Row>(self) -> Result<Option<T>, StoreError> {
        let decoded = match self {
            Self::Sqlite(rows) => rows.first().map(T::from_row).transpose(),
            Self::Pg(rows) => rows.first().map(T::from_row).transpose(),
        };
        decoded.map_err(StoreError::from)
    }
}
