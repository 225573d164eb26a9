//! The only file with SQL.

use std::time::Duration;

use service_kit::{Db, StoreError, db::Migrator, ids, params, time};

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Failures in a row after which an address has to wait.
const MAX_FAILURES: i64 = 10;
/// How long it waits then.
const LOCKED: Duration = Duration::from_secs(60);
/// Failures this old are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Most addresses a customer may have.
pub const MAX_ADDRESSES: i64 = 50;

/// Customers, addresses and keys.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// A row of `customer`.
#[derive(Clone, Debug, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct CustomerRow {
    pub id: String,
    pub email: String,
    pub display_name: String,
    pub password_hash: String,
    pub create_time: i64,
}

/// A row of `address`.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct AddressRow {
    pub id: String,
    pub recipient: String,
    pub street: String,
    pub city: String,
    pub postal_code: String,
    pub region_code: String,
}

/// A row of `signing_key`.
#[derive(Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct SigningKey {
    pub id: String,
    pub private_key: Vec<u8>,
    pub create_time: i64,
}

const CUSTOMER: &str = "SELECT id, email, display_name, password_hash, create_time FROM customer";
const ADDRESS: &str = "SELECT id, recipient, street, city, postal_code, region_code FROM address";

impl Store {
    /// Uses a database whose schema is up to date.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// The database, for changes that are recorded with their request id.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Adds a customer, unless the address is taken.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn register(
        &self,
        email: &str,
        display_name: &str,
        password_hash: &str,
    ) -> Result<Option<CustomerRow>, StoreError> {
        let row = CustomerRow {
            id: ids::new_secret(),
            email: email.to_owned(),
            display_name: display_name.to_owned(),
            password_hash: password_hash.to_owned(),
            create_time: time::now_micros(),
        };
        let sql = "INSERT INTO customer (id, email, display_name, password_hash, create_time) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (email) DO NOTHING";
        let values = params![
            &row.id,
            &row.email,
            &row.display_name,
            &row.password_hash,
            row.create_time
        ];
        Ok((self.db.execute(sql, values).await? == 1).then_some(row))
    }

    /// Finds a customer by id.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn customer(&self, id: &str) -> Result<Option<CustomerRow>, StoreError> {
        self.find(&format!("{CUSTOMER} WHERE id = $1"), id).await
    }

    /// Finds a customer by e-mail address, in lower case.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn customer_by_email(&self, email: &str) -> Result<Option<CustomerRow>, StoreError> {
        self.find(&format!("{CUSTOMER} WHERE email = $1"), email)
            .await
    }

    async fn find(&self, sql: &str, key: &str) -> Result<Option<CustomerRow>, StoreError> {
        self.db
            .fetch_optional(service_kit::db::AssertSqlSafe(sql.to_owned()), params![key])
            .await
    }

    /// Whether an address failed too often to try again now.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn is_locked(&self, email: &str) -> Result<bool, StoreError> {
        let sql = "SELECT count, last_time FROM login_failure WHERE email = $1";
        let row = self
            .db
            .fetch_optional::<(i64, i64)>(sql, params![email])
            .await?;
        Ok(row.is_some_and(|(count, last_time)| {
            count >= MAX_FAILURES && last_time > time::now_micros() - time::micros(LOCKED)
        }))
    }

    /// Counts a failed login.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn login_failed(&self, email: &str) -> Result<(), StoreError> {
        let now = time::now_micros();
        let mut tx = self.db.begin().await?;
        let sql = "DELETE FROM login_failure WHERE last_time < $1";
        tx.execute(sql, params![now - time::micros(FORGOTTEN)])
            .await?;
        let sql = "INSERT INTO login_failure (email, count, last_time) VALUES ($1, 1, $2) \
                   ON CONFLICT (email) DO UPDATE SET count = login_failure.count + 1, last_time = $2";
        tx.execute(sql, params![email, now]).await?;
        tx.commit().await
    }

    /// Forgets the failures of an address that logged in.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn login_succeeded(&self, email: &str) -> Result<(), StoreError> {
        let sql = "SELECT count FROM login_failure WHERE email = $1";
        if self
            .db
            .fetch_optional::<(i64,)>(sql, params![email])
            .await?
            .is_some()
        {
            let sql = "DELETE FROM login_failure WHERE email = $1";
            self.db.execute(sql, params![email]).await?;
        }
        Ok(())
    }

    /// The addresses of a customer behind an id, oldest first.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn addresses(
        &self,
        customer: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AddressRow>, StoreError> {
        let sql = format!("{ADDRESS} WHERE customer_id = $1 AND id > $2 ORDER BY id LIMIT $3");
        let sql = service_kit::db::AssertSqlSafe(sql);
        self.db
            .fetch_all(sql, params![customer, after, limit])
            .await
    }

    /// Replaces an address; says whether there was one.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn replace_address(
        &self,
        customer: &str,
        row: &AddressRow,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE address SET recipient = $3, street = $4, city = $5, postal_code = $6, \
                   region_code = $7 WHERE customer_id = $1 AND id = $2";
        Ok(self.db.execute(sql, address_values(customer, row)).await? == 1)
    }

    /// Removes an address, if it is there.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn remove_address(&self, customer: &str, id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM address WHERE customer_id = $1 AND id = $2";
        self.db.execute(sql, params![customer, id]).await.map(drop)
    }

    /// The keys made since `keep_since`, newest first; adds `fresh` if none was made since
    /// `rotate_before`. Replicas may do this at the same time.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn signing_keys(
        &self,
        fresh: &SigningKey,
        rotate_before: i64,
        keep_since: i64,
    ) -> Result<Vec<SigningKey>, StoreError> {
        let mut tx = self.db.begin().await?;
        let sql = "SELECT id FROM signing_key WHERE create_time > $1";
        if tx
            .fetch_optional::<(String,)>(sql, params![rotate_before])
            .await?
            .is_none()
        {
            let sql = "INSERT INTO signing_key (id, private_key, create_time) VALUES ($1, $2, $3)";
            tx.execute(
                sql,
                params![&fresh.id, &fresh.private_key, fresh.create_time],
            )
            .await?;
        }
        let sql = "SELECT id, private_key, create_time FROM signing_key WHERE create_time > $1 \
                   ORDER BY create_time DESC";
        let keys = tx.fetch_all(sql, params![keep_since]).await?;
        tx.commit().await?;
        Ok(keys)
    }
}

/// Adds an address, unless the book is full; says whether it was added.
///
/// # Errors
///
/// If the database refuses it.
pub async fn add_address(
    tx: &mut service_kit::Tx,
    customer: &str,
    row: &AddressRow,
) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*) FROM address WHERE customer_id = $1";
    let (count,): (i64,) = tx.fetch_one(sql, params![customer]).await?;
    if count >= MAX_ADDRESSES {
        return Ok(false);
    }
    let sql = "INSERT INTO address (customer_id, id, recipient, street, city, postal_code, \
               region_code) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(sql, address_values(customer, row)).await?;
    Ok(true)
}

fn address_values(customer: &str, row: &AddressRow) -> Vec<service_kit::db::Value> {
    params![
        customer,
        &row.id,
        &row.recipient,
        &row.street,
        &row.city,
        &row.postal_code,
        &row.region_code
    ]
}
