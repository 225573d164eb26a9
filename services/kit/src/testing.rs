//! Databases and servers for the tests of services.

use std::{env, net::SocketAddr, ops::Deref, thread};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, migrate::Migrator};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{Db, Upstream, ids};

/// A database of its own, removed when dropped.
#[derive(Debug)]
pub struct TestDb {
    db: Db,
    url: String,
    // Dropped after `db`.
    _place: Place,
}

#[derive(Debug)]
enum Place {
    Folder { _folder: TempDir },
    Server { admin_url: String, name: String },
}

impl TestDb {
    /// Its URL, to open it once more, as another process would.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

/// The databases that a test must pass on: SQLite, and PostgreSQL if `TEST_POSTGRES_URL` names a
/// server on which databases may be made.
///
/// # Panics
///
/// If one cannot be opened, and with `CI=true` if there is no `TEST_POSTGRES_URL`.
#[expect(clippy::expect_used, reason = "a test that has no database must fail")]
pub async fn databases(test: &str, migrations: &Migrator) -> Vec<TestDb> {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let db = Db::open(&url, migrations).await.expect("SQLite opens");
    let mut all = vec![TestDb {
        db,
        url,
        _place: Place::Folder { _folder: folder },
    }];
    match env::var("TEST_POSTGRES_URL") {
        Ok(admin_url) if !admin_url.is_empty() => all.push(postgres(&admin_url, migrations).await),
        _ if env::var("CI").is_ok_and(|value| value == "true") => {
            panic!("CI=true but TEST_POSTGRES_URL is not set: {test} must pass on PostgreSQL too")
        }
        _ => eprintln!("SKIPPED on PostgreSQL, TEST_POSTGRES_URL is not set: {test}"),
    }
    all
}

#[expect(clippy::expect_used, reason = "a test that has no database must fail")]
async fn postgres(admin_url: &str, migrations: &Migrator) -> TestDb {
    let name = format!("test_{}", ids::new_secret().replace('-', ""));
    let mut admin = PgConnection::connect(admin_url)
        .await
        .expect("TEST_POSTGRES_URL answers");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .expect("a database can be made");
    let _ = admin.close().await;
    let (server, _) = admin_url
        .rsplit_once('/')
        .expect("TEST_POSTGRES_URL names a database");
    let url = format!("{server}/{name}");
    let place = Place::Server {
        admin_url: admin_url.to_owned(),
        name,
    };
    let db = Db::open(&url, migrations).await.expect("PostgreSQL opens");
    TestDb {
        db,
        url,
        _place: place,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { admin_url, name } = self else {
            return;
        };
        let (admin_url, name) = (admin_url.clone(), name.clone());
        // On a thread with a runtime of its own: the test's may be ending.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(mut admin) = PgConnection::connect(&admin_url).await else {
                    return;
                };
                let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _ = sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut admin)
                    .await;
                let _ = admin.close().await;
            });
        });
        let _ = dropping.join();
    }
}

/// A server that runs in the test. It is asked to drain when this is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    token: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// Binds a free port and starts `serve` on it: usually the service's own
/// `serve(listener, db, ..., token)`.
///
/// # Panics
///
/// If no port is free.
#[expect(clippy::expect_used, reason = "a test that has no port must fail")]
pub async fn spawn<F>(serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> Running
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    let token = CancellationToken::new();
    let task = tokio::spawn(serve(listener, token.clone()));
    Running {
        address,
        token,
        task: Some(task),
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A channel to it, for generated clients.
    ///
    /// # Panics
    ///
    /// Never: an address is a valid name.
    #[expect(clippy::expect_used, reason = "an address is a host and a port")]
    pub fn upstream(&self) -> Upstream {
        Upstream::new(&self.address.to_string(), None).expect("an address is a valid name")
    }

    /// Drains it and waits for its end.
    ///
    /// # Errors
    ///
    /// What `serve` ended with.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.token.cancel();
        match self.task.take() {
            Some(task) => task.await?,
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.token.cancel();
    }
}
