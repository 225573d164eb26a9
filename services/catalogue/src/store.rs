//! The only file with SQL.

use std::collections::HashMap;

use service_kit::{
    Db, StoreError,
    db::{AssertSqlSafe, Migrator, Value},
    params,
};

use crate::{
    query::{Key, Order, Term},
    seed::Seed,
};

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Products, variants and categories.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

/// A row of `product`.
#[derive(Clone, Debug, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct ProductRow {
    pub id: String,
    pub title: String,
    pub description: String,
    pub currency: String,
    pub lowest_price: i64,
    pub create_time: i64,
}

/// A row of `variant`, with the title of its product.
#[derive(Clone, Debug, sqlx::FromRow)]
#[allow(missing_docs, reason = "the columns of the migration")]
pub struct VariantRow {
    pub product_id: String,
    pub id: String,
    pub title: String,
    pub size: String,
    pub color: String,
    pub currency: String,
    pub price: i64,
}

/// A product with what belongs to it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "rows and the ids of categories")]
pub struct FullProduct {
    pub product: ProductRow,
    pub categories: Vec<String>,
    pub variants: Vec<VariantRow>,
}

/// Where a page starts: behind this key and id.
pub type Position = (serde_json::Value, String);

const PRODUCT: &str =
    "SELECT id, title, description, currency, lowest_price, create_time FROM product";
const VARIANT: &str = "SELECT v.product_id, v.id, p.title, v.size, v.color, p.currency, v.price \
                       FROM variant v JOIN product p ON p.id = v.product_id";

impl Store {
    /// Uses a database whose schema is up to date.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Fills an empty database; says whether it was. Replicas may do this at the same time.
    ///
    /// # Errors
    ///
    /// If the database refuses it.
    pub async fn seed(&self, seed: &Seed) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        if tx
            .fetch_optional::<(String,)>("SELECT id FROM product LIMIT 1", params![])
            .await?
            .is_some()
        {
            return Ok(false);
        }
        for category in &seed.categories {
            let sql = "INSERT INTO category (id, title) VALUES ($1, $2)";
            tx.execute(sql, params![&category.id, &category.title])
                .await?;
        }
        for product in &seed.products {
            let searched = format!("{} {}", product.title, product.description).to_lowercase();
            let pattern = serde_json::to_string(&product.pattern).unwrap_or_default();
            let lowest = product
                .variants
                .iter()
                .map(|variant| variant.price)
                .min()
                .unwrap_or(0);
            let sql = "INSERT INTO product (id, title, description, searched, pattern, currency, \
                       lowest_price, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let values = params![
                &product.id,
                &product.title,
                &product.description,
                searched,
                pattern,
                &seed.currency,
                lowest,
                product.create_time.as_microsecond()
            ];
            tx.execute(sql, values).await?;
            for (position, variant) in (0_i64..).zip(&product.variants) {
                let sql = "INSERT INTO variant (product_id, id, position, size, color, price) \
                           VALUES ($1, $2, $3, $4, $5, $6)";
                let values = params![
                    &product.id,
                    &variant.id,
                    position,
                    &variant.size,
                    &variant.color,
                    variant.price
                ];
                tx.execute(sql, values).await?;
            }
            for (position, category) in (0_i64..).zip(&product.categories) {
                let sql = "INSERT INTO product_category (product_id, category_id, position) \
                           VALUES ($1, $2, $3)";
                tx.execute(sql, params![&product.id, category, position])
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    /// One page of what `terms` match, and how many they match in all.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn list(
        &self,
        terms: &[Term],
        order: Order,
        after: Option<Position>,
        limit: i64,
    ) -> Result<(Vec<FullProduct>, i64), StoreError> {
        let mut filter = Filter::new(terms);
        let count = format!("SELECT COUNT(*) FROM product{}", filter.sql());
        let (total,): (i64,) = self
            .db
            .fetch_one(AssertSqlSafe(count), filter.values.clone())
            .await?;
        let column = column(order.key);
        let (than, direction) = if order.descending {
            ("<", "DESC")
        } else {
            (">", "ASC")
        };
        if let Some((key, id)) = after {
            let key = filter.value(key_value(order.key, &key));
            let id = filter.value(id.into());
            filter
                .conditions
                .push(format!("({column}, id) {than} ({key}, {id})"));
        }
        let limit = filter.value(limit.into());
        let sql = format!(
            "{PRODUCT}{} ORDER BY {column} {direction}, id {direction} LIMIT {limit}",
            filter.sql()
        );
        let rows = self.db.fetch_all(AssertSqlSafe(sql), filter.values).await?;
        Ok((self.complete(rows).await?, total))
    }

    /// One product.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn product(&self, id: &str) -> Result<Option<FullProduct>, StoreError> {
        let sql = format!("{PRODUCT} WHERE id = $1");
        let rows = self.db.fetch_all(AssertSqlSafe(sql), params![id]).await?;
        Ok(self.complete(rows).await?.into_iter().next())
    }

    /// How the picture of a product is drawn, as JSON.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn pattern(&self, id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT pattern FROM product WHERE id = $1";
        Ok(self
            .db
            .fetch_optional::<(String,)>(sql, params![id])
            .await?
            .map(|row| row.0))
    }

    /// Id, title and number of products of every category, by title.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn categories(&self) -> Result<Vec<(String, String, i64)>, StoreError> {
        let sql = "SELECT c.id, c.title, COUNT(l.product_id) FROM category c \
                   LEFT JOIN product_category l ON l.category_id = c.id \
                   GROUP BY c.id, c.title ORDER BY c.title";
        self.db.fetch_all(sql, params![]).await
    }

    /// The variants of these products, by product and place.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub async fn variants(&self, products: &[&str]) -> Result<Vec<VariantRow>, StoreError> {
        let (list, values) = placeholders(products);
        let sql =
            format!("{VARIANT} WHERE v.product_id IN ({list}) ORDER BY v.product_id, v.position");
        self.db.fetch_all(AssertSqlSafe(sql), values).await
    }

    async fn complete(&self, rows: Vec<ProductRow>) -> Result<Vec<FullProduct>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let mut variants: HashMap<String, Vec<VariantRow>> = HashMap::new();
        for variant in self.variants(&ids).await? {
            variants
                .entry(variant.product_id.clone())
                .or_default()
                .push(variant);
        }
        let (list, values) = placeholders(&ids);
        let sql = format!(
            "SELECT product_id, category_id FROM product_category \
             WHERE product_id IN ({list}) ORDER BY product_id, position"
        );
        let mut categories: HashMap<String, Vec<String>> = HashMap::new();
        let links: Vec<(String, String)> = self.db.fetch_all(AssertSqlSafe(sql), values).await?;
        for (product, category) in links {
            categories.entry(product).or_default().push(category);
        }
        let complete = rows.into_iter().map(|product| FullProduct {
            categories: categories.remove(&product.id).unwrap_or_default(),
            variants: variants.remove(&product.id).unwrap_or_default(),
            product,
        });
        Ok(complete.collect())
    }
}

/// Conditions over `product` and the values they name; texts of callers are only ever values.
struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn new(terms: &[Term]) -> Self {
        let mut filter = Self {
            conditions: Vec::new(),
            values: Vec::new(),
        };
        for term in terms {
            let condition = match term {
                Term::Category(id) => {
                    let id = filter.value(id.as_str().into());
                    format!(
                        "id IN (SELECT product_id FROM product_category WHERE category_id = {id})"
                    )
                }
                Term::PriceAtMost(price) => {
                    format!("lowest_price <= {}", filter.value((*price).into()))
                }
                Term::PriceAtLeast(price) => {
                    format!("lowest_price >= {}", filter.value((*price).into()))
                }
                Term::Words(words) => {
                    let escaped = words
                        .replace('\\', "\\\\")
                        .replace('%', "\\%")
                        .replace('_', "\\_");
                    let like = filter.value(format!("%{escaped}%").into());
                    format!("searched LIKE {like} ESCAPE '\\'")
                }
            };
            filter.conditions.push(condition);
        }
        filter
    }

    /// Takes a value and returns its placeholder.
    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        }
    }
}

fn column(key: Key) -> &'static str {
    match key {
        Key::Title => "title",
        Key::Price => "lowest_price",
        Key::CreateTime => "create_time",
    }
}

fn key_value(key: Key, value: &serde_json::Value) -> Value {
    match key {
        Key::Title => value.as_str().unwrap_or_default().into(),
        Key::Price | Key::CreateTime => value.as_i64().unwrap_or_default().into(),
    }
}

/// The key of a product, for the position of the next page.
pub fn position(order: Order, row: &ProductRow) -> Position {
    let key = match order.key {
        Key::Title => row.title.clone().into(),
        Key::Price => row.lowest_price.into(),
        Key::CreateTime => row.create_time.into(),
    };
    (key, row.id.clone())
}

fn placeholders(ids: &[&str]) -> (String, Vec<Value>) {
    let list: Vec<String> = (1..=ids.len()).map(|place| format!("${place}")).collect();
    (list.join(", "), ids.iter().map(|id| (*id).into()).collect())
}
