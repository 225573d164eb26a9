//! Everything that can go wrong, and what callers are told of it.

use std::error::Error;

use service_kit::{StoreError, status};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{card::CardError, provider::ProviderError};

/// Why money was not moved or a card not taken. No variant holds card data.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The card cannot be one.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A field of the request breaks a rule of the contract.
    #[error("invalid `{field}`: {reason}")]
    Invalid {
        /// As named in the contract.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The request id came before, with another request.
    #[error("request id `{0}` was used for another request")]
    RequestIdReused(String),
    /// No such token, or another customer's.
    #[error("`{0}` does not exist")]
    CardTokenNotFound(String),
    /// The token's time is over.
    #[error("`{0}` has expired")]
    CardTokenExpired(String),
    /// The card's bank said no.
    #[error("the card was declined")]
    CardDeclined,
    /// The authorization's key was given up.
    #[error("the authorization `{0}` was voided")]
    AuthorizationVoided(String),
    /// No such payment.
    #[error("`{0}` does not exist")]
    PaymentNotFound(String),
    /// The payment was voided or refunded.
    #[error("`{0}` is not authorized any more")]
    NotAuthorized(String),
    /// The payment was collected.
    #[error("`{0}` was captured")]
    Captured(String),
    /// The payment was not collected.
    #[error("`{0}` is not captured")]
    NotCaptured(String),
    /// The provider did not answer in time.
    #[error("the payment provider did not answer in time")]
    ProviderTimeout,
    /// The provider cannot be reached.
    #[error("the payment provider is unavailable")]
    Provider(#[source] ProviderError),
    /// The database does not do its part.
    #[error("payment store failed")]
    Store(#[from] StoreError),
}

impl From<PaymentError> for Status {
    fn from(error: PaymentError) -> Self {
        use PaymentError as E;
        let message = error.to_string();
        let failed = |reason: &str, key: &str, value: &str| {
            status::failed_precondition(reason, message.clone(), [(key, value)])
        };
        match &error {
            E::Card(card) => invalid_card(*card),
            E::Invalid { field, reason } => status::invalid(*field, reason),
            E::RequestIdReused(id) => status::request_id_reused(id),
            E::CardTokenNotFound(name) => status::not_found_because("CARD_TOKEN_NOT_FOUND", name),
            E::CardTokenExpired(name) => failed("CARD_TOKEN_EXPIRED", "cardToken", name),
            E::CardDeclined => status::failed_precondition("CARD_DECLINED", message, []),
            E::AuthorizationVoided(id) => failed("AUTHORIZATION_VOIDED", "requestId", id),
            E::PaymentNotFound(name) => status::not_found_because("PAYMENT_NOT_FOUND", name),
            E::NotAuthorized(name) => failed("PAYMENT_NOT_AUTHORIZED", "payment", name),
            E::Captured(name) => failed("PAYMENT_CAPTURED", "payment", name),
            E::NotCaptured(name) => failed("PAYMENT_NOT_CAPTURED", "payment", name),
            E::ProviderTimeout | E::Provider(_) => {
                tracing::warn!(error = &error as &dyn Error, "payment provider failed");
                status::unavailable("PROVIDER_UNAVAILABLE", message)
            }
            E::Store(_) => match error {
                E::Store(store) => store.into(),
                _ => status::internal(),
            },
        }
    }
}

fn invalid_card(error: CardError) -> Status {
    let (field, reason) = match error {
        CardError::Number => ("card.number", "CARD_NUMBER_INVALID"),
        CardError::Expired => ("card.expiry_month", "CARD_EXPIRED"),
    };
    let mut details = ErrorDetails::with_error_info(reason, status::ERROR_DOMAIN, []);
    details.add_bad_request_violation(field, error.to_string());
    Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_the_contracts() {
        let name = || "payments/1".to_owned();
        for (error, code, reason) in [
            (
                CardError::Number.into(),
                Code::InvalidArgument,
                "CARD_NUMBER_INVALID",
            ),
            (
                CardError::Expired.into(),
                Code::InvalidArgument,
                "CARD_EXPIRED",
            ),
            (
                PaymentError::CardDeclined,
                Code::FailedPrecondition,
                "CARD_DECLINED",
            ),
            (
                PaymentError::CardTokenExpired(name()),
                Code::FailedPrecondition,
                "CARD_TOKEN_EXPIRED",
            ),
            (
                PaymentError::CardTokenNotFound(name()),
                Code::NotFound,
                "CARD_TOKEN_NOT_FOUND",
            ),
            (
                PaymentError::PaymentNotFound(name()),
                Code::NotFound,
                "PAYMENT_NOT_FOUND",
            ),
            (
                PaymentError::NotAuthorized(name()),
                Code::FailedPrecondition,
                "PAYMENT_NOT_AUTHORIZED",
            ),
            (
                PaymentError::Captured(name()),
                Code::FailedPrecondition,
                "PAYMENT_CAPTURED",
            ),
            (
                PaymentError::NotCaptured(name()),
                Code::FailedPrecondition,
                "PAYMENT_NOT_CAPTURED",
            ),
            (
                PaymentError::ProviderTimeout,
                Code::Unavailable,
                "PROVIDER_UNAVAILABLE",
            ),
        ] {
            let status = Status::from(error);
            assert_eq!(
                (status.code(), status::reason(&status).as_deref()),
                (code, Some(reason))
            );
        }
    }
}
