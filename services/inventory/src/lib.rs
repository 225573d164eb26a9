//! Stock per variant and its reservations. Units are available, reserved or sold; the database itself
//! refuses to let any of them become negative.
//!
//! Owner: the warehouse team. Contract: `proto/sockshop/inventory/v1/inventory.proto`. A new database
//! is seeded from `data/stock.json`. Start reading at [`service`].

pub mod service;
mod store;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use contracts::sockshop::inventory::v1::inventory_service_server::InventoryServiceServer;
use service_kit::{CancellationToken, Db, Server, time};

pub use store::{MIGRATIONS, Store};

/// How often expired reservations are looked for. They also stop counting the moment they are read.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The inventory over a database, seeded if it is new; ready to serve.
///
/// # Errors
///
/// If the database cannot be seeded.
pub async fn server(db: Db) -> anyhow::Result<Server> {
    let store = Store::new(db.clone());
    let stock: BTreeMap<String, i64> = serde_json::from_str(include_str!("../data/stock.json"))
        .context("the data file is broken")?;
    if store.seed(&stock).await.context("cannot seed the stock")? {
        tracing::info!(variants = stock.len(), "seeded");
    }
    let service = InventoryServiceServer::new(service::Inventory::new(store.clone()));
    Ok(Server::new(db)
        .add_service(service)
        .with_task("expiry", |token| expire(store, token)))
}

/// Gives the units of expired reservations back until the service drains.
async fn expire(store: Store, token: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        match store.expire(time::now_micros()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "reservations expired"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expiry waits");
            }
        }
    }
}
