//! Cards, authorizations, captures, and the ledger.
//!
//! Owner: payments team.
//!
//! The only service that sees a card: the number is checked, exchanged for a token and forgotten; the
//! verification code is checked for its form and forgotten. Nothing of either is stored, logged or
//! passed on. Money moves through a payment provider ([`provider::PaymentProvider`]) and every movement
//! is in an append-only double-entry [`ledger`]. What an order is worth, and when it is paid, is the
//! business of `orders`.
//!
//! Start reading at [`operations`]; the rules are in [`payment`] and [`card`].

pub mod card;
pub mod error;
pub mod ledger;
pub mod operations;
pub mod payment;
pub mod provider;
mod service;
pub mod store;

use std::sync::Arc;

use contracts::sockshop::payments::v1::{
    card_service_server::CardServiceServer, payment_service_server::PaymentServiceServer,
};
use service_kit::{Db, Server, StoreError, db::Migrator};

use crate::{
    operations::Operations,
    provider::{PaymentProvider, local::LocalProvider},
    service::{Cards, Payments},
    store::Store,
};

/// The service's schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// The service with the local provider, ready to be run or served.
///
/// # Errors
///
/// If the database does not answer.
pub async fn server(db: Db) -> Result<Server, StoreError> {
    let store = Store::new(db).await?;
    let provider = Arc::new(LocalProvider::new(store.clone()));
    Ok(server_with(store, provider))
}

/// The service with any provider.
pub fn server_with(store: Store, provider: Arc<dyn PaymentProvider>) -> Server {
    let db = store.db().clone();
    let operations = Operations::new(store, provider);
    Server::new(db)
        .add_service(CardServiceServer::new(Cards::new(operations.clone())))
        .add_service(PaymentServiceServer::new(Payments::new(operations)))
}
