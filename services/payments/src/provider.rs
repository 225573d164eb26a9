//! The payment provider: whoever really moves the money. One implementation per provider.

use std::error::Error;

use futures::future::BoxFuture;
use service_kit::Money;

use crate::card::{Card, Summary};

pub mod local;

/// A payment provider. Every operation on a hold names it by the key it was authorized with, and may
/// be repeated: the answer is the same, and nothing is done twice. The caller sets the deadline by
/// dropping the future; whether the operation took place is unknown then.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Exchanges a card for the provider's own token, which is all that is kept of it.
    fn store_card<'a>(&'a self, card: &'a Card) -> BoxFuture<'a, Result<String, ProviderError>>;

    /// A card that every customer may use by the well-known id of a token, with the provider's token
    /// of it. Real providers have none.
    fn test_card(&self, _token_id: &str) -> Option<(String, Summary)> {
        None
    }

    /// Holds an amount.
    fn authorize<'a>(
        &'a self,
        key: &'a str,
        provider_token: &'a str,
        amount: Money,
    ) -> BoxFuture<'a, Result<Authorization, ProviderError>>;

    /// Collects the whole hold. Fails with [`ProviderError::NotHeld`] if it was given up.
    fn capture<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Gives a hold up. A key that is unknown is closed: an authorization that arrives later is
    /// answered with [`Authorization::Closed`].
    fn void<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Void, ProviderError>>;

    /// Pays a collected amount back. Fails with [`ProviderError::NotHeld`] if it was not collected.
    fn refund<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ProviderError>>;
}

/// What a provider says to an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// The amount is held.
    Held,
    /// The card's bank said no.
    Declined,
    /// The key was closed by [`PaymentProvider::void`].
    Closed,
}

/// What a provider says to giving a hold up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// There was a hold, and it was given up.
    Voided,
    /// There was none, and there never will be.
    NothingHeld,
    /// Too late: the amount was collected.
    Captured,
}

/// Why a provider did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No answer; the outcome is unknown.
    #[error("payment provider does not answer")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The hold is not in a state that allows it.
    #[error("payment provider has no amount to move for this key")]
    NotHeld,
}
