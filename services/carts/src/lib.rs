//! Shopping carts of guests and customers.
//!
//! Owner: the checkout team. Contract: `proto/sockshop/carts/v1/carts.proto`. A guest's cart is known
//! by a name that cannot be guessed; a customer's cart has an id that follows from the customer, so
//! that it needs no lookup and no race can make two. Start reading at [`service`].

mod lines;
pub mod service;
mod store;

use std::time::Duration;

use contracts::sockshop::{
    carts::v1::cart_service_server::CartServiceServer,
    catalogue::v1::catalogue_service_client::CatalogueServiceClient,
};
use service_kit::{CancellationToken, Db, Server, Upstream, time};

pub use store::{MIGRATIONS, Store};

/// Carts that guests left this long ago are removed.
const ABANDONED: Duration = Duration::from_secs(30 * 24 * 3600);
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// The carts over a database and the catalogue, ready to serve.
pub fn server(db: Db, catalogue: Upstream) -> Server {
    let store = Store::new(db.clone());
    let service = service::Carts::new(store.clone(), CatalogueServiceClient::new(catalogue));
    Server::new(db)
        .add_service(CartServiceServer::new(service))
        .with_task("sweep", |token| sweep(store, token))
}

/// Removes abandoned carts until the service drains.
async fn sweep(store: Store, token: CancellationToken) -> anyhow::Result<()> {
    loop {
        match store
            .forget_guests(time::now_micros() - time::micros(ABANDONED))
            .await
        {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed abandoned carts"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "abandoned carts stay"
                );
            }
        }
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
    }
}
