//! Customers, log-in, address books; signs the tokens the edge checks.
//!
//! Owner: the identity team. Contract: `proto/sockshop/accounts/v1/accounts.proto`. Passwords are
//! kept as argon2id hashes; tokens are JWTs signed with Ed25519 (RFC 8037), whose public keys
//! `GetKeys` gives. The private keys stay in this service's database. Start reading at [`service`].

mod password;
pub mod service;
mod store;
mod token;

use std::sync::Arc;

use anyhow::Context as _;
use contracts::sockshop::accounts::v1::account_service_server::AccountServiceServer;
use service_kit::{Db, Server};
use tokio::sync::watch;

pub use password::Passwords;
pub use store::MIGRATIONS;
pub use token::Issuer;

/// Somebody who can log in from the first start, to try things out.
#[derive(Clone, Debug)]
pub struct DemoCustomer {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: String,
}

impl std::str::FromStr for DemoCustomer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (email, password) = text.split_once(':').ok_or("write EMAIL:PASSWORD")?;
        Ok(Self {
            email: email.to_lowercase(),
            password: password.to_owned(),
        })
    }
}

/// The accounts over a database, with a signing key, ready to serve.
///
/// # Errors
///
/// If the database does not take the key or the demo customer.
pub async fn server(db: Db, issuer: Issuer, demo: Option<DemoCustomer>) -> anyhow::Result<Server> {
    let store = store::Store::new(db.clone());
    let passwords = Passwords::default();
    let keys = token::keys(&store)
        .await
        .context("cannot prepare the signing key")?;
    if let Some(DemoCustomer { email, password }) = demo {
        let hash = passwords.hash(password).await?;
        if store.register(&email, "Ada", &hash).await?.is_some() {
            tracing::info!(email, "registered the demo customer");
        }
    }
    let (refreshed, keys) = watch::channel(Arc::new(keys));
    let service = service::Accounts::new(store.clone(), passwords, issuer, keys);
    Ok(Server::new(db)
        .add_service(AccountServiceServer::new(service))
        .with_task("keys", |token| token::refresh(store, refreshed, token)))
}
