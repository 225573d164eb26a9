//! The socks of the shop: products, variants, categories and pictures.
//!
//! Owner: the catalogue team. Contract: `proto/sockshop/catalogue/v1/catalogue.proto`. A new database
//! is seeded from `data/products.json`; pictures are drawn from each product's pattern when they are
//! asked for. Start reading at [`service`].

pub mod picture;
pub mod query;
pub mod seed;
pub mod service;
mod store;

use anyhow::Context as _;
use contracts::sockshop::catalogue::v1::catalogue_service_server::CatalogueServiceServer;
use service_kit::{Db, Server};

pub use store::{MIGRATIONS, Store};

/// The catalogue over a database, seeded if it is new; ready to serve.
///
/// # Errors
///
/// If the database cannot be seeded.
pub async fn server(db: Db) -> anyhow::Result<Server> {
    let store = Store::new(db.clone());
    let seed = seed::products().context("the data file is broken")?;
    if store
        .seed(&seed)
        .await
        .context("cannot seed the catalogue")?
    {
        tracing::info!(products = seed.products.len(), "seeded");
    }
    Ok(Server::new(db).add_service(CatalogueServiceServer::new(service::Catalogue::new(store))))
}
