//! Why the database did not do what it was asked for.

use std::{path::PathBuf, time::Duration};

use tonic::Status;

use crate::status;

/// An error of the database or of what the kit keeps in it. Turns into a [`Status`] that tells the
/// caller what to do and nothing else; the cause goes to the log then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// `DATABASE_URL` cannot be used as it is.
    #[error("invalid database URL `{url}`: {reason}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder of the database cannot be made or locked.
    #[error("cannot prepare {path}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The schema could not be brought to this version.
    #[error("database migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database does not answer, is locked or full. Trying again may help.
    #[error("database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Other writers held the database for too long.
    #[error("no turn to write within {}s", .0.as_secs())]
    Busy(Duration),
    /// A row with the same unique key is there already.
    #[error("a row with this key exists")]
    UniqueViolation(#[source] sqlx::Error),
    /// The database refused a statement, or a row has not the expected form: our bug.
    #[error("database statement failed")]
    Statement(#[source] sqlx::Error),
    /// Bytes in the database cannot be decoded.
    #[error("stored {0} cannot be decoded")]
    Corrupt(&'static str, #[source] prost::DecodeError),
    /// A request id came again with another request.
    #[error("request id `{0}` was used for another request")]
    RequestIdReused(String),
}

impl StoreError {
    /// Whether the same work may succeed if it is tried again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_))
    }

    /// Whether a unique key stood in the way.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::UniqueViolation(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_)
            | E::Tls(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::Protocol(_)
            | E::BeginFailed => Self::Unavailable(error),
            E::Database(refused) if refused.is_unique_violation() => Self::UniqueViolation(error),
            E::Database(refused) if refused.code().is_some_and(|code| is_transient(&code)) => {
                Self::Unavailable(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// PostgreSQL has SQLSTATEs of five characters, SQLite shorter numbers.
fn is_transient(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, rollback by conflict, resources, operator, system.
        return ["08", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
            || code == "55P03";
    }
    // BUSY, LOCKED, IOERR, FULL, CANTOPEN; the upper bits say more about each.
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14))
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) | StoreError::Busy(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "store unavailable"
                );
                status::unavailable("STORE_UNAVAILABLE", "store is unavailable")
            }
            StoreError::UniqueViolation(_) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "concurrent change"
                );
                status::aborted(
                    "CONCURRENT_CHANGE",
                    "somebody else changed this at the same time",
                )
            }
            StoreError::RequestIdReused(request_id) => status::request_id_reused(request_id),
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "store failed");
                status::internal()
            }
        }
    }
}
