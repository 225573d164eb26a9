//! Everything that can go wrong, and what callers are told of it.

use std::{error::Error, time::Duration};

use service_kit::{StoreError, status};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{order::Unsellable, saga::Rejection};

/// Why an order could not be placed or read.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Not there, or another customer's.
    #[error("`{0}` does not exist")]
    NotFound(String),
    /// The request id came before, with another order.
    #[error("request id `{0}` was used for another order")]
    RequestIdReused(String),
    /// The lines cannot be sold as they are.
    #[error(transparent)]
    Unsellable(#[from] Unsellable),
    /// The catalogue has no such variant.
    #[error("a variant is not in the catalogue")]
    VariantNotFound(#[source] Status),
    /// The catalogue did not answer; nothing was stored.
    #[error("the catalogue does not answer")]
    Catalogue(#[source] Status),
    /// The order was placed and could not be sold.
    #[error("`{order}` was rejected: {}", rejected_because(*.why))]
    Rejected {
        /// `orders/{order}`.
        order: String,
        /// Why.
        why: Rejection,
    },
    /// The database does not do its part.
    #[error("order store failed")]
    Store(#[from] StoreError),
}

fn rejected_because(why: Rejection) -> &'static str {
    match why {
        Rejection::OutOfStock => "too few units are left",
        Rejection::CardDeclined => "the card was declined",
        Rejection::CardTokenNotFound => "the card token does not exist",
        Rejection::CardTokenExpired => "the card token has expired",
        Rejection::PaymentTimedOut => "the payment did not come through in time",
    }
}

impl From<OrderError> for Status {
    fn from(error: OrderError) -> Self {
        let message = error.to_string();
        match error {
            OrderError::NotFound(name) => status::not_found(&name),
            OrderError::RequestIdReused(id) => {
                let facts = [("requestId", id.as_str())];
                status::error_info(Code::InvalidArgument, "REQUEST_ID_REUSED", message, facts)
            }
            OrderError::Unsellable(Unsellable::Repeated(index)) => status::invalid(
                format!("order.lines[{index}].variant"),
                "must not be the variant of another line",
            ),
            OrderError::Unsellable(Unsellable::Missing(name)) => {
                status::not_found_because("VARIANT_NOT_FOUND", &name)
            }
            OrderError::Unsellable(Unsellable::Sum) => {
                status::invalid("order.lines", "must add up to one amount of one currency")
            }
            // The catalogue's own words: they name the variant.
            OrderError::VariantNotFound(refusal) => {
                let name = refusal.get_details_error_info().and_then(|mut info| {
                    info.metadata
                        .remove("resource")
                        .or_else(|| info.metadata.remove("variant"))
                });
                status::not_found_because("VARIANT_NOT_FOUND", &name.unwrap_or_default())
            }
            OrderError::Catalogue(ref refusal) => {
                tracing::warn!(error = refusal as &dyn Error, "catalogue does not answer");
                let mut details = ErrorDetails::with_error_info(
                    "CATALOGUE_UNAVAILABLE",
                    status::ERROR_DOMAIN,
                    [],
                );
                details.set_retry_info(Some(Duration::from_millis(500)));
                Status::with_error_details(Code::Unavailable, message, details)
            }
            OrderError::Rejected { order, why } => {
                status::failed_precondition(why.reason(), message, [("order", order.as_str())])
            }
            OrderError::Store(store) => store.into(),
        }
    }
}
