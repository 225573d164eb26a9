//! The only file with SQL.

use service_kit::{Db, StoreError, Tx, db::Migrator, params, time};

use crate::mailer::Letter;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Mails, waiting and sent.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// A mail that is due.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What to send.
    pub letter: Letter,
    /// How often sending failed.
    pub attempts: i64,
    /// Since when it is due.
    due: i64,
}

/// A row of `mail`.
#[derive(Clone, Debug, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct MailRow {
    pub id: String,
    pub order_name: String,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub queue_time: i64,
    pub send_time: Option<i64>,
    pub attempts: i64,
    pub next_attempt_time: i64,
}

/// Queues the one mail about an order; does nothing if there is one.
///
/// # Errors
///
/// If the database refuses it.
pub async fn queue(
    tx: &mut Tx,
    customer: &str,
    order: &str,
    letter: &Letter,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO mail (id, customer, order_name, recipient, subject, body, queue_time, \
               attempts, next_attempt_time) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $7) \
               ON CONFLICT (order_name) DO NOTHING";
    let values = params![
        &letter.id,
        customer,
        order,
        &letter.recipient,
        &letter.subject,
        &letter.body,
        time::now_micros()
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

impl Store {
    /// Uses a database whose schema is up to date.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Up to 50 mails that wait and are due at `now`, oldest first.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn due(&self, now: i64) -> Result<Vec<Waiting>, StoreError> {
        let sql = "SELECT id, order_name, recipient, subject, body, queue_time, send_time, attempts, \
                   next_attempt_time FROM mail WHERE send_time IS NULL AND next_attempt_time <= $1 \
                   ORDER BY next_attempt_time LIMIT 50";
        let rows: Vec<MailRow> = self.db.fetch_all(sql, params![now]).await?;
        let waiting = rows.into_iter().map(|row| Waiting {
            attempts: row.attempts,
            due: row.next_attempt_time,
            letter: Letter {
                id: row.id,
                recipient: row.recipient,
                subject: row.subject,
                body: row.body,
            },
        });
        Ok(waiting.collect())
    }

    /// Takes a mail that is due for oneself until `until`; says whether nobody else was faster.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn claim(&self, waiting: &Waiting, until: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE mail SET next_attempt_time = $3 \
                   WHERE id = $1 AND next_attempt_time = $2 AND send_time IS NULL";
        let values = params![&waiting.letter.id, waiting.due, until];
        Ok(self.db.execute(sql, values).await? == 1)
    }

    /// Notes that a mail was sent.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn sent(&self, id: &str, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE mail SET send_time = $2 WHERE id = $1";
        self.db.execute(sql, params![id, now]).await.map(drop)
    }

    /// Notes that a mail was not sent and when to try again.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn failed(&self, id: &str, again: i64) -> Result<(), StoreError> {
        let sql = "UPDATE mail SET attempts = attempts + 1, next_attempt_time = $2 WHERE id = $1";
        self.db.execute(sql, params![id, again]).await.map(drop)
    }

    /// The mails of a customer behind a position, newest first.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn mails(
        &self,
        customer: &str,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<MailRow>, StoreError> {
        let (time, id) = after.unwrap_or((i64::MAX, String::new()));
        let sql = "SELECT id, order_name, recipient, subject, body, queue_time, send_time, attempts, \
                   next_attempt_time FROM mail WHERE customer = $1 AND (queue_time, id) < ($2, $3) \
                   ORDER BY queue_time DESC, id DESC LIMIT $4";
        self.db
            .fetch_all(sql, params![customer, time, id, limit])
            .await
    }
}
