//! What the service does with money: ask the provider, then write down what it said.
//!
//! The order of things makes a crash at any point harmless. A request id is written down before the
//! provider sees it; the provider keeps its own books by the same key; its answer and the ledger's
//! entries are written down together. Whoever repeats a call after a crash finds the row and asks the
//! provider again with the same key, which moves nothing twice.

use std::{sync::Arc, time::Duration};

use service_kit::{ids, time};

use crate::{
    card::{Card, Expiry},
    error::PaymentError,
    payment::{Demand, Event, Payment, Stage},
    provider::{Authorization, PaymentProvider, ProviderError, Void},
    store::{CardToken, Instrument, Store},
};

/// How long a token pays orders.
pub const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// How long the provider may take for one answer.
pub const PROVIDER_DEADLINE: Duration = Duration::from_secs(1);

/// The store and the provider together. Cloning gives the same ones.
#[derive(Clone)]
pub struct Operations {
    store: Store,
    provider: Arc<dyn PaymentProvider>,
}

impl Operations {
    /// Moves money through `provider` and keeps its record in `store`.
    pub fn new(store: Store, provider: Arc<dyn PaymentProvider>) -> Self {
        Self { store, provider }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Exchanges a checked card for a token of this customer.
    ///
    /// # Errors
    ///
    /// If provider or store do not answer.
    pub async fn tokenize(&self, customer: &str, card: Card) -> Result<CardToken, PaymentError> {
        let provider_token = in_time(self.provider.store_card(&card)).await?;
        let token = CardToken {
            id: ids::new_secret(),
            customer: customer.to_owned(),
            provider_token,
            card: card.summary(),
            expire_time: time::now_micros() + time::micros(TOKEN_LIFE),
        };
        self.store.add_card_token(&token).await?;
        Ok(token)
    }

    /// Holds an amount. Repeating it with the same request id gives the same payment.
    ///
    /// # Errors
    ///
    /// As the contract of `AuthorizePayment` says.
    pub async fn authorize(
        &self,
        request_id: &str,
        demand: Demand,
    ) -> Result<Payment, PaymentError> {
        let payment = match self.store.payment_by_request(request_id).await? {
            Some(payment) => payment,
            None => {
                let instrument = self.instrument(&demand).await?;
                self.store.ask(request_id, &demand, &instrument).await?
            }
        };
        if payment
            .demand
            .as_ref()
            .is_some_and(|first| *first != demand)
        {
            return Err(PaymentError::RequestIdReused(request_id.to_owned()));
        }
        if payment.stage != Stage::Asked {
            return authorized(payment);
        }
        let asked = self
            .provider
            .authorize(request_id, &payment.provider_token, demand.amount);
        let event = match in_time(asked).await? {
            Authorization::Held => Event::Held,
            Authorization::Declined => Event::Declined,
            Authorization::Closed => Event::Closed,
        };
        authorized(self.store.record(request_id, event, None).await?)
    }

    /// What a token stands for, if this customer may pay with it now.
    async fn instrument(&self, demand: &Demand) -> Result<Instrument, PaymentError> {
        let name = &demand.card_token;
        let not_found = || PaymentError::CardTokenNotFound(name.clone());
        let id = name.strip_prefix("cardTokens/").ok_or_else(not_found)?;
        if let Some((provider_token, card)) = self.provider.test_card(id) {
            return Ok(Instrument {
                provider_token,
                card,
            });
        }
        let token = self.store.card_token(id).await?;
        let token = token
            .filter(|token| token.customer == demand.customer)
            .ok_or_else(not_found)?;
        if token.expire_time <= time::now_micros() {
            return Err(PaymentError::CardTokenExpired(name.clone()));
        }
        Ok(Instrument {
            provider_token: token.provider_token,
            card: token.card,
        })
    }

    /// Collects the whole hold of a payment. Repeating it changes nothing.
    ///
    /// # Errors
    ///
    /// As the contract of `CapturePayment` says.
    pub async fn capture(&self, id: &str) -> Result<Payment, PaymentError> {
        let payment = self.payment(id).await?;
        let refused = || PaymentError::NotAuthorized(name(id));
        match payment.stage {
            Stage::Authorized => {}
            Stage::Captured => return Ok(payment),
            _ => return Err(refused()),
        }
        match in_time(self.provider.capture(&payment.request_id)).await {
            Err(PaymentError::Provider(ProviderError::NotHeld)) => return Err(refused()),
            answer => answer?,
        }
        let payment = self
            .store
            .record(&payment.request_id, Event::Captured, None)
            .await?;
        if payment.stage == Stage::Captured {
            Ok(payment)
        } else {
            Err(refused())
        }
    }

    /// Gives up the hold of a payment. Repeating it changes nothing.
    ///
    /// # Errors
    ///
    /// As the contract of `VoidPayment` says.
    pub async fn void(&self, id: &str) -> Result<Payment, PaymentError> {
        let payment = self.payment(id).await?;
        let payment = self.give_up(payment).await?;
        payment.ok_or_else(|| PaymentError::PaymentNotFound(name(id)))
    }

    /// Gives up whatever an authorization with this request id holds, now or later. Returns the
    /// payment if something was held.
    ///
    /// # Errors
    ///
    /// As the contract of `VoidPayment` says.
    pub async fn void_authorization(
        &self,
        request_id: &str,
    ) -> Result<Option<Payment>, PaymentError> {
        let payment = self.store.close_unseen(request_id).await?;
        self.give_up(payment).await
    }

    async fn give_up(&self, payment: Payment) -> Result<Option<Payment>, PaymentError> {
        let captured = || PaymentError::Captured(name(&payment.id));
        match payment.stage {
            Stage::Asked | Stage::Authorized => {}
            Stage::Declined | Stage::Closed => return Ok(None),
            Stage::Voided => return Ok(Some(payment)),
            Stage::Captured | Stage::Refunded => return Err(captured()),
        }
        let event = match in_time(self.provider.void(&payment.request_id)).await? {
            Void::Voided => Event::Voided,
            Void::NothingHeld => Event::Closed,
            Void::Captured => return Err(captured()),
        };
        let payment = self.store.record(&payment.request_id, event, None).await?;
        Ok(Some(payment).filter(|payment| payment.stage == Stage::Voided))
    }

    /// Pays a collected amount back. Repeating it with the same request id gives the same payment.
    ///
    /// # Errors
    ///
    /// As the contract of `RefundPayment` says.
    pub async fn refund(&self, request_id: &str, id: &str) -> Result<Payment, PaymentError> {
        if let Some(payment) = self.store.payment_by_refund(request_id).await? {
            return if payment.id == id {
                Ok(payment)
            } else {
                Err(PaymentError::RequestIdReused(request_id.to_owned()))
            };
        }
        let payment = self.payment(id).await?;
        let refused = || PaymentError::NotCaptured(name(id));
        if payment.stage != Stage::Captured {
            return Err(refused());
        }
        match in_time(self.provider.refund(&payment.request_id)).await {
            Err(PaymentError::Provider(ProviderError::NotHeld)) => return Err(refused()),
            answer => answer?,
        }
        let key = &payment.request_id;
        let payment = self
            .store
            .record(key, Event::Refunded, Some(request_id))
            .await?;
        if payment.refund_request_id.as_deref() == Some(request_id) {
            Ok(payment)
        } else {
            Err(refused())
        }
    }

    /// Reads a payment.
    ///
    /// # Errors
    ///
    /// [`PaymentError::PaymentNotFound`], and if the store does not answer.
    pub async fn payment(&self, id: &str) -> Result<Payment, PaymentError> {
        let payment = self.store.payment(id).await?;
        payment.ok_or_else(|| PaymentError::PaymentNotFound(name(id)))
    }
}

/// The month it is, UTC.
pub fn today() -> Expiry {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    Expiry {
        year: i32::from(now.year()),
        month: i32::from(now.month()),
    }
}

/// The answer to an authorization whose outcome is known.
fn authorized(mut payment: Payment) -> Result<Payment, PaymentError> {
    match payment.stage {
        // What became of it later does not change the first answer.
        Stage::Authorized | Stage::Captured | Stage::Refunded => {
            payment.stage = Stage::Authorized;
            Ok(payment)
        }
        Stage::Declined => Err(PaymentError::CardDeclined),
        Stage::Asked | Stage::Closed | Stage::Voided => {
            Err(PaymentError::AuthorizationVoided(payment.request_id))
        }
    }
}

fn name(id: &str) -> String {
    format!("payments/{id}")
}

async fn in_time<T>(
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, PaymentError> {
    match tokio::time::timeout(PROVIDER_DEADLINE, call).await {
        Ok(answer) => answer.map_err(PaymentError::Provider),
        Err(_) => Err(PaymentError::ProviderTimeout),
    }
}
