//! A provider for laptops and tests: deterministic, with its own durable books.
//!
//! What a card does is decided by its number when it is stored, and is all the provider's token says:
//!
//! | number | token of every customer | does |
//! | --- | --- | --- |
//! | 4000 0000 0000 0002 | `cardTokens/test-declines` | is declined |
//! | 4000 0000 0000 0341 | `cardTokens/test-times-out` | holds the amount but never answers |
//! | 4242 4242 4242 4242 and all others | `cardTokens/test-succeeds` | succeeds |

use futures::future::BoxFuture;
use service_kit::{Money, StoreError};

use super::{Authorization, PaymentProvider, ProviderError, Void};
use crate::{
    card::{Card, Expiry, Summary},
    store::{HoldState, Store},
};

const SUCCEEDS: &str = "local-succeeds";
const DECLINES: &str = "local-declines";
const TIMES_OUT: &str = "local-times-out";

/// See the module.
#[derive(Clone, Debug)]
pub struct LocalProvider {
    books: Store,
}

impl LocalProvider {
    /// A provider that keeps its books in the service's database, in a table and in transactions of
    /// its own: the service may crash between the provider's record and its own.
    pub fn new(books: Store) -> Self {
        Self { books }
    }

    async fn hold(
        &self,
        key: &str,
        provider_token: &str,
        amount: Money,
    ) -> Result<Authorization, ProviderError> {
        let wanted = if provider_token == DECLINES {
            HoldState::Declined
        } else {
            HoldState::Held
        };
        let state = self.books.provider_open(key, amount, wanted).await?;
        if provider_token == TIMES_OUT && state == HoldState::Held {
            // The worst a provider can do: the money is held and nobody is told.
            return std::future::pending().await;
        }
        Ok(match state {
            HoldState::Declined => Authorization::Declined,
            HoldState::Closed | HoldState::Voided => Authorization::Closed,
            HoldState::Held | HoldState::Captured | HoldState::Refunded => Authorization::Held,
        })
    }

    async fn change(&self, key: &str, from: HoldState, to: HoldState) -> Result<(), ProviderError> {
        match self.books.provider_move(key, from, to).await? {
            Some(state) if state == to => Ok(()),
            _ => Err(ProviderError::NotHeld),
        }
    }

    async fn give_up(&self, key: &str) -> Result<Void, ProviderError> {
        let moved = self
            .books
            .provider_move(key, HoldState::Held, HoldState::Voided);
        let state = match moved.await? {
            Some(state) => state,
            None => self.books.provider_close(key).await?,
        };
        Ok(match state {
            HoldState::Voided => Void::Voided,
            HoldState::Closed | HoldState::Declined => Void::NothingHeld,
            HoldState::Captured | HoldState::Refunded => Void::Captured,
            // An authorization came between the two statements; the next void finds it.
            HoldState::Held => return Err(ProviderError::Unavailable("hold is being made".into())),
        })
    }
}

impl PaymentProvider for LocalProvider {
    fn store_card<'a>(&'a self, card: &'a Card) -> BoxFuture<'a, Result<String, ProviderError>> {
        let token = match card.number() {
            "4000000000000002" => DECLINES,
            "4000000000000341" => TIMES_OUT,
            _ => SUCCEEDS,
        };
        Box::pin(std::future::ready(Ok(token.to_owned())))
    }

    fn test_card(&self, token_id: &str) -> Option<(String, Summary)> {
        let (token, last_four) = match token_id {
            "test-succeeds" => (SUCCEEDS, "4242"),
            "test-declines" => (DECLINES, "0002"),
            "test-times-out" => (TIMES_OUT, "0341"),
            _ => return None,
        };
        let expiry = Expiry {
            year: 2099,
            month: 12,
        };
        let summary = Summary {
            brand: "visa".into(),
            last_four: last_four.into(),
            expiry,
        };
        Some((token.to_owned(), summary))
    }

    fn authorize<'a>(
        &'a self,
        key: &'a str,
        provider_token: &'a str,
        amount: Money,
    ) -> BoxFuture<'a, Result<Authorization, ProviderError>> {
        Box::pin(self.hold(key, provider_token, amount))
    }

    fn capture<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.change(key, HoldState::Held, HoldState::Captured))
    }

    fn void<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Void, ProviderError>> {
        Box::pin(self.give_up(key))
    }

    fn refund<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.change(key, HoldState::Captured, HoldState::Refunded))
    }
}

impl From<StoreError> for ProviderError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}
