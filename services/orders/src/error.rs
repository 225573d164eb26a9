//! Everything that can go wrong, and what callers are told of it.

use std::error::Error;

use service_kit::{StoreError, status};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    order::Unsellable,
    saga::{Rejection, Shortage},
};

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
    #[error("`{order}` was rejected: {}", rejected_because(.why))]
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

fn rejected_because(why: &Rejection) -> String {
    let text = match why {
        Rejection::OutOfStock(Some(Shortage { variant, available })) => {
            return format!("only {available} units of `{variant}` are left");
        }
        Rejection::OutOfStock(None) => "too few units are left",
        Rejection::CardDeclined => "the card was declined",
        Rejection::CardTokenNotFound => "the card token does not exist",
        Rejection::CardTokenExpired => "the card token has expired",
        Rejection::PaymentTimedOut => "the payment did not come through in time",
    };
    text.to_owned()
}

impl From<OrderError> for Status {
    fn from(error: OrderError) -> Self {
        let message = error.to_string();
        match error {
            OrderError::NotFound(name) => status::not_found(&name),
            OrderError::RequestIdReused(id) => status::request_id_reused(&id),
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
                status::unavailable("CATALOGUE_UNAVAILABLE", message)
            }
            OrderError::Rejected { order, why } => {
                let mut facts = vec![("order", order)];
                let reason = why.reason();
                if let Rejection::OutOfStock(Some(Shortage { variant, available })) = why {
                    facts.extend([("variant", variant), ("available", available.to_string())]);
                }
                let facts = facts.iter().map(|(name, fact)| (*name, fact.as_str()));
                status::failed_precondition(reason, message, facts)
            }
            OrderError::Store(store) => store.into(),
        }
    }
}
