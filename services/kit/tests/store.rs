//! The database, idempotency and the outbox, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use prost_types::Timestamp;
use service_kit::{
    Db, StoreError, db::Migrator, events, idempotency, idempotency::Key, ids, outbox, params,
    testing,
};

static MIGRATIONS: Migrator = sqlx::migrate!("tests/migrations");

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Counter {
    name: String,
    value: i64,
    note: Option<String>,
    open: bool,
}

async fn insert(db: &Db, name: &str) {
    let sql = "INSERT INTO counters (name, value, note, open) VALUES ($1, $2, $3, $4)";
    assert_eq!(
        db.execute(sql, params![name, 0_i64, None::<&str>, true])
            .await
            .unwrap(),
        1
    );
}

async fn value(db: &Db, name: &str) -> i64 {
    let sql = "SELECT value FROM counters WHERE name = $1";
    db.fetch_one::<(i64,)>(sql, params![name]).await.unwrap().0
}

/// Reads, then writes what it read plus one: wrong unless transactions are serial.
async fn increment(db: &Db, name: &str) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    let sql = "SELECT value FROM counters WHERE name = $1";
    let (value,) = tx.fetch_one::<(i64,)>(sql, params![name]).await?;
    tokio::task::yield_now().await;
    let sql = "UPDATE counters SET value = $2 WHERE name = $1";
    tx.execute(sql, params![name, value + 1]).await?;
    outbox::append(
        &mut tx,
        "google.protobuf.Timestamp",
        name,
        &Timestamp::default(),
    )
    .await?;
    tx.commit().await
}

#[tokio::test]
async fn same_statements_run_on_both_databases() {
    for db in testing::databases("same_statements", &MIGRATIONS).await {
        insert(&db, "a").await;
        let sql = "SELECT name, value, note, open FROM counters WHERE name = $1 AND open = $2";
        let row: Option<Counter> = db.fetch_optional(sql, params!["a", true]).await.unwrap();
        let expected = Counter {
            name: "a".into(),
            value: 0,
            note: None,
            open: true,
        };
        assert_eq!(row, Some(expected));
        assert_eq!(
            db.fetch_all::<Counter>(sql, params!["b", true])
                .await
                .unwrap(),
            []
        );

        let sql = "INSERT INTO counters (name, value, note, open) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value \
                   RETURNING value, open";
        let mut tx = db.begin().await.unwrap();
        let row: (i64, bool) = tx
            .fetch_one(sql, params!["a", 7_i64, Some("x"), false])
            .await
            .unwrap();
        assert_eq!(row, (7, true));
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn errors_tell_what_to_do() {
    for db in testing::databases("errors", &MIGRATIONS).await {
        insert(&db, "a").await;
        let sql = "INSERT INTO counters (name, value, open) VALUES ($1, $2, $3)";
        let twice = db
            .execute(sql, params!["a", 0_i64, true])
            .await
            .unwrap_err();
        assert!(twice.is_unique_violation(), "{twice:?}");
        let negative = db
            .execute(sql, params!["b", -1_i64, true])
            .await
            .unwrap_err();
        assert!(
            !negative.is_unique_violation() && !negative.is_transient(),
            "{negative:?}"
        );
        assert_eq!(tonic::Status::from(negative).message(), "internal error");
    }
}

#[tokio::test]
async fn dropped_transaction_leaves_nothing() {
    for db in testing::databases("dropped", &MIGRATIONS).await {
        insert(&db, "a").await;
        let mut tx = db.begin().await.unwrap();
        tx.execute("UPDATE counters SET value = 5", params![])
            .await
            .unwrap();
        outbox::append(&mut tx, "t", "k", &Timestamp::default())
            .await
            .unwrap();
        drop(tx);
        increment(&db, "a").await.unwrap();
        assert_eq!(value(&db, "a").await, 1);
        let all: Vec<(i64,)> = db
            .fetch_all("SELECT sequence FROM kit_outbox", params![])
            .await
            .unwrap();
        assert_eq!(all, [(1,)], "the sequence has no gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_of_two_processes_lose_nothing() {
    for db in testing::databases("concurrent", &MIGRATIONS).await {
        insert(&db, "a").await;
        // A second pool on the same database is what a second replica has.
        let replica = Db::open(db.url(), &MIGRATIONS).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for index in 0..60 {
            let db = if index % 2 == 0 {
                (*db).clone()
            } else {
                replica.clone()
            };
            writers.spawn(async move { increment(&db, "a").await });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(value(&db, "a").await, 60, "{}", db.kind());
        let sequences: Vec<(i64,)> = db
            .fetch_all(
                "SELECT sequence FROM kit_outbox ORDER BY sequence",
                params![],
            )
            .await
            .unwrap();
        assert_eq!(sequences, (1..=60).map(|n| (n,)).collect::<Vec<_>>());
        replica.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_open_a_new_database_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/deep/er/new.db", folder.path().display());
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        opening.spawn(async move { Db::open(&url, &MIGRATIONS).await });
    }
    while let Some(opened) = opening.join_next().await {
        let db = opened.unwrap().unwrap();
        assert!(
            db.fetch_all::<(String,)>("SELECT name FROM counters", params![])
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn wrong_url_is_named_without_its_password() {
    for url in ["mysql://u:secret@h/d", "sqlite::memory:", "nonsense"] {
        let error = Db::open(url, &MIGRATIONS).await.unwrap_err().to_string();
        assert!(
            error.contains("database URL") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn command_acts_once_and_answers_the_same() {
    for db in testing::databases("idempotent", &MIGRATIONS).await {
        insert(&db, "a").await;
        let id = ids::new_secret();
        let request = Timestamp {
            seconds: 1,
            nanos: 0,
        };
        let key = Key::new("m", "customers/1", &id, &request).unwrap();
        for _ in 0..3 {
            let mut tx = db.begin().await.unwrap();
            if let Some(first) = key.recorded::<Timestamp>(&mut tx).await.unwrap() {
                assert_eq!(first.seconds, 42);
                continue;
            }
            tx.execute("UPDATE counters SET value = value + 1", params![])
                .await
                .unwrap();
            key.record(
                &mut tx,
                &Timestamp {
                    seconds: 42,
                    nanos: 0,
                },
            )
            .await
            .unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(value(&db, "a").await, 1);

        let mut tx = db.begin().await.unwrap();
        let other = Timestamp {
            seconds: 2,
            nanos: 0,
        };
        let other = Key::new("m", "customers/1", &id.to_uppercase(), &other).unwrap();
        let reused = other.recorded::<Timestamp>(&mut tx).await.unwrap_err();
        let status = tonic::Status::from(reused);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(
            service_kit::status::reason(&status).as_deref(),
            Some("REQUEST_ID_REUSED")
        );
        // Another caller's request ids are another namespace.
        let foreign = Key::new("m", "customers/2", &id, &request).unwrap();
        assert_eq!(foreign.recorded::<Timestamp>(&mut tx).await.unwrap(), None);
        drop(tx);
        assert!(Key::new("m", "c", "not a uuid", &request).is_err());

        assert_eq!(idempotency::forget_old(&db).await.unwrap(), 0);
        db.execute("UPDATE kit_idempotency SET created_at = 1", params![])
            .await
            .unwrap();
        assert_eq!(idempotency::forget_old(&db).await.unwrap(), 1);
        assert_eq!(events::parked(&db).await.unwrap(), []);
    }
}
