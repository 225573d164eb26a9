//! The products a new database starts with, from the data file in the repository.

use serde::Deserialize;

use crate::picture::Pattern;

/// The data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// ISO 4217, of every price.
    pub currency: String,
    /// What products are grouped by.
    pub categories: Vec<SeedCategory>,
    /// What is sold.
    pub products: Vec<SeedProduct>,
}

/// A group of products.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedCategory {
    /// Used in filters.
    pub id: String,
    /// Shown to customers.
    pub title: String,
}

/// One kind of sock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedProduct {
    /// The last part of its name.
    pub id: String,
    /// Shown to customers.
    pub title: String,
    /// A few sentences.
    pub description: String,
    /// Ids of categories.
    pub categories: Vec<String>,
    /// How its picture is drawn.
    pub pattern: Pattern,
    /// What can be bought.
    pub variants: Vec<SeedVariant>,
    /// RFC 3339.
    pub create_time: jiff::Timestamp,
}

/// A product in one size and colour.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedVariant {
    /// The last part of its name.
    pub id: String,
    /// Such as `36-40`.
    pub size: String,
    /// Such as `navy`.
    pub color: String,
    /// Minor units.
    pub price: i64,
}

/// Reads the data file that is built into the binary.
///
/// # Errors
///
/// If it is not of the form above; a test holds that it is.
pub fn products() -> Result<Seed, serde_json::Error> {
    serde_json::from_str(include_str!("../data/products.json"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_data_file_is_complete() {
        let seed = products().unwrap();
        assert!(seed.products.len() >= 60);
        let categories: BTreeSet<_> = seed.categories.iter().map(|each| &each.id).collect();
        let mut ids = BTreeSet::new();
        for product in &seed.products {
            assert!(ids.insert(&product.id), "{} twice", product.id);
            assert!(!product.categories.is_empty(), "{}", product.id);
            assert!(
                product.categories.iter().all(|id| categories.contains(id)),
                "{}",
                product.id
            );
            let variants: BTreeSet<_> = product.variants.iter().map(|each| &each.id).collect();
            assert!(!variants.is_empty() && variants.len() == product.variants.len());
            assert!(
                product.variants.iter().all(|variant| variant.price > 0),
                "{}",
                product.id
            );
        }
    }
}
