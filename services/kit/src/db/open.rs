//! Opening a database: files, settings, migrations.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::Pool;
use crate::StoreError;

/// How sure a committed transaction is. PostgreSQL is always [`Durability::Full`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power loss: every commit is on the disk. For orders, money and stock.
    #[default]
    Full,
    /// It survives the end of the process at any moment, but the last ones may be undone by a power
    /// loss. For carts and sessions; many times faster.
    Process,
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// One that writes and some that read. A server takes a hundred by default, and each costs it memory
/// and, to begin with, a thousandfold hash on both sides.
const PG_CONNECTIONS: u32 = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn open(
    url: &str,
    migrations: &Migrator,
    durability: Durability,
) -> Result<Pool, StoreError> {
    if url.starts_with("sqlite:") {
        sqlite(url, migrations, durability).await
    } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        pg(url, migrations).await
    } else {
        Err(invalid(url, "it must start with sqlite:// or postgres://"))
    }
}

async fn sqlite(
    url: &str,
    migrations: &Migrator,
    durability: Durability,
) -> Result<Pool, StoreError> {
    let synchronous = match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Process => SqliteSynchronous::Normal,
    };
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| invalid(url, &error.to_string()))?
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        // Many processes share the machine: half a mebibyte of pages per connection.
        .pragma("cache_size", "-512")
        .disable_statement_logging();
    let file = options.get_filename().to_owned();
    if url.contains(":memory:") || file.as_os_str().is_empty() {
        return Err(invalid(
            url,
            "a database in memory would not outlive its connection",
        ));
    }
    {
        // Only one process at a time may create the file, switch it to WAL and migrate it.
        let _lock = lock(&file).await?;
        let mut connection = options.connect().await?;
        migrate(migrations, &mut connection).await?;
        check_synchronous(&mut connection, synchronous).await?;
        connection.close().await?;
    }
    let pool = SqlitePoolOptions::new()
        .max_connections(5)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(Pool::Sqlite(pool))
}

async fn pg(url: &str, migrations: &Migrator) -> Result<Pool, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| invalid(url, &error.to_string()))?
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    migrate(migrations, &mut connection).await?;
    connection.close().await?;
    // A process that hangs must not keep the others from writing.
    let options = options.options([
        ("lock_timeout", "5000"),
        ("statement_timeout", "10000"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(PG_CONNECTIONS)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .connect_lazy_with(options);
    Ok(Pool::Pg(pool))
}

/// The kit and the service number their migrations independently, so each has a table of versions.
async fn migrate<C: Migrate>(service: &Migrator, connection: &mut C) -> Result<(), StoreError> {
    let mut kit = sqlx::migrate!();
    kit.dangerous_set_table_name("_kit_migrations");
    let run = async {
        kit.run_direct(None, connection, false).await?;
        service.run_direct(None, connection, false).await
    };
    run.await.map_err(|error| match error {
        MigrateError::Execute(error) => StoreError::from(error),
        error => StoreError::Migration(error),
    })
}

async fn check_synchronous(
    connection: &mut SqliteConnection,
    expected: SqliteSynchronous,
) -> Result<(), StoreError> {
    let (level,): (i64,) = sqlx::query_as("PRAGMA synchronous")
        .fetch_one(connection)
        .await?;
    let wanted = if matches!(expected, SqliteSynchronous::Full) {
        2
    } else {
        1
    };
    if level == wanted {
        return Ok(());
    }
    let reason = format!("PRAGMA synchronous is {level}, not {wanted}");
    Err(StoreError::Statement(sqlx::Error::Configuration(
        reason.into(),
    )))
}

/// Released when dropped, and by the system when the process ends in any way.
async fn lock(file: &Path) -> Result<fs::File, StoreError> {
    let mut path = file.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |path: PathBuf| move |source| StoreError::File { path, source };
    let locking = path.clone();
    let locked = tokio::task::spawn_blocking(move || {
        if let Some(folder) = locking.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = fs::File::create(&locking)?;
        file.lock()?;
        Ok(file)
    });
    match locked.await {
        Ok(result) => result.map_err(failed(path)),
        Err(ended) => Err(failed(path)(std::io::Error::other(ended))),
    }
}

fn invalid(url: &str, reason: &str) -> StoreError {
    // A password stands between the colon after the user and the last `@`.
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://...@{place}"),
        _ => url.to_owned(),
    };
    StoreError::Url {
        url: shown,
        reason: reason.to_owned(),
    }
}
