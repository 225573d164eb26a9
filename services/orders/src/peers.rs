//! The services that orders calls, and what their answers mean to the saga.

use std::time::Duration;

use contracts::sockshop::{
    carts::v1::{OrderedLine, TakeOrderedLinesRequest, cart_service_client::CartServiceClient},
    catalogue::v1::{
        BatchGetVariantsRequest, Variant, catalogue_service_client::CatalogueServiceClient,
    },
    inventory::v1::{
        ConfirmReservationRequest, ReleaseReservationRequest, ReservationLine, ReserveStockRequest,
        inventory_service_client::InventoryServiceClient,
    },
    payments::v1::{
        AuthorizePaymentRequest, CapturePaymentRequest, RefundPaymentRequest, VoidPaymentRequest,
        payment_service_client::PaymentServiceClient, void_payment_request::Target,
    },
};
use service_kit::{Money, Upstream, status};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::{
    error::OrderError,
    order::{Item, Offer, Order},
    saga::{Cause, Outcome, Rejection, Shortage, Step},
};

/// Channels to the peers, by the name each has in the contracts' folders.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// Prices and titles.
    pub catalogue: Upstream,
    /// Stock.
    pub inventory: Upstream,
    /// Money.
    pub payments: Upstream,
    /// Carts.
    pub carts: Upstream,
}

/// The peers. Cloning shares the connections.
#[derive(Clone)]
pub struct Peers {
    catalogue: CatalogueServiceClient<Upstream>,
    inventory: InventoryServiceClient<Upstream>,
    payments: PaymentServiceClient<Upstream>,
    carts: CartServiceClient<Upstream>,
    timeout: Duration,
}

impl Peers {
    /// Peers of which each may take `timeout` for an answer.
    pub fn new(upstreams: Upstreams, timeout: Duration) -> Self {
        Self {
            catalogue: CatalogueServiceClient::new(upstreams.catalogue),
            inventory: InventoryServiceClient::new(upstreams.inventory),
            payments: PaymentServiceClient::new(upstreams.payments),
            carts: CartServiceClient::new(upstreams.carts),
            timeout,
        }
    }

    /// What the catalogue says of these items now.
    ///
    /// # Errors
    ///
    /// [`OrderError::VariantNotFound`], and [`OrderError::Catalogue`] if it does not answer.
    pub async fn offers(&self, items: &[Item]) -> Result<Vec<Offer>, OrderError> {
        let names = items.iter().map(|item| item.variant.clone()).collect();
        let request = self.within(BatchGetVariantsRequest { names });
        let answer = self.catalogue.clone().batch_get_variants(request).await;
        let variants = answer.map_err(variant_error)?.into_inner().variants;
        variants.into_iter().map(offer).collect()
    }

    /// Does the order's next step, once.
    pub async fn perform(&self, order: &Order) -> Outcome {
        let step = order.saga.step;
        let answer = match step {
            Step::Reserve => self.reserve(order).await,
            Step::Authorize => self.authorize(order).await,
            Step::Confirm => self.confirm(order).await,
            Step::Capture => self.capture(order).await,
            Step::TakeLines => self.take_lines(order).await,
            Step::Void => self.void(order).await,
            Step::Refund => self.refund(order).await,
            Step::Release => self.release(order).await,
            Step::Done => Ok(Outcome::Done),
        };
        let outcome = answer.unwrap_or_else(|refusal| meaning(step, &refusal));
        tracing::debug!(?step, ?outcome, "step done");
        outcome
    }

    async fn reserve(&self, order: &Order) -> Result<Outcome, Status> {
        let line = |item: &Item| ReservationLine {
            variant: item.variant.clone(),
            quantity: item.quantity,
        };
        let request = self.within(ReserveStockRequest {
            request_id: Step::Reserve.request_id(&order.id),
            lines: order.placement.items.iter().map(line).collect(),
            time_to_live: None,
        });
        let answer = self
            .inventory
            .clone()
            .reserve_stock(request)
            .await?
            .into_inner();
        Ok(named(
            answer.reservation.map(|reservation| reservation.name),
            Outcome::Reserved,
        ))
    }

    async fn authorize(&self, order: &Order) -> Result<Outcome, Status> {
        let request = self.within(AuthorizePaymentRequest {
            request_id: Step::Authorize.request_id(&order.id),
            order: order.name(),
            customer: order.placement.customer.clone(),
            amount: Some(order.total.to_message()),
            card_token: order.placement.card_token.clone(),
        });
        let answer = self
            .payments
            .clone()
            .authorize_payment(request)
            .await?
            .into_inner();
        Ok(named(
            answer.payment.map(|payment| payment.name),
            Outcome::Authorized,
        ))
    }

    async fn confirm(&self, order: &Order) -> Result<Outcome, Status> {
        let name = order.saga.reservation.clone().unwrap_or_default();
        let request = self.within(ConfirmReservationRequest { name });
        self.inventory.clone().confirm_reservation(request).await?;
        Ok(Outcome::Done)
    }

    async fn capture(&self, order: &Order) -> Result<Outcome, Status> {
        let name = order.saga.payment.clone().unwrap_or_default();
        let request = self.within(CapturePaymentRequest { name });
        self.payments.clone().capture_payment(request).await?;
        Ok(Outcome::Done)
    }

    async fn take_lines(&self, order: &Order) -> Result<Outcome, Status> {
        let line = |item: &Item| OrderedLine {
            variant: item.variant.clone(),
            quantity: item.quantity,
        };
        let request = self.within(TakeOrderedLinesRequest {
            request_id: Step::TakeLines.request_id(&order.id),
            customer: order.placement.customer.clone(),
            lines: order.placement.items.iter().map(line).collect(),
        });
        self.carts.clone().take_ordered_lines(request).await?;
        Ok(Outcome::Done)
    }

    async fn void(&self, order: &Order) -> Result<Outcome, Status> {
        let target = match &order.saga.payment {
            Some(name) => Target::Name(name.clone()),
            None => Target::AuthorizationRequestId(Step::Authorize.request_id(&order.id)),
        };
        let request = self.within(VoidPaymentRequest {
            target: Some(target),
        });
        self.payments.clone().void_payment(request).await?;
        Ok(Outcome::Done)
    }

    async fn refund(&self, order: &Order) -> Result<Outcome, Status> {
        let request = self.within(RefundPaymentRequest {
            request_id: Step::Refund.request_id(&order.id),
            name: order.saga.payment.clone().unwrap_or_default(),
        });
        self.payments.clone().refund_payment(request).await?;
        Ok(Outcome::Done)
    }

    async fn release(&self, order: &Order) -> Result<Outcome, Status> {
        let Some(name) = order.saga.reservation.clone() else {
            return Ok(Outcome::Done);
        };
        let request = self.within(ReleaseReservationRequest { name });
        self.inventory.clone().release_reservation(request).await?;
        Ok(Outcome::Done)
    }

    fn within<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// A peer that says yes but names nothing has not answered.
fn named(name: Option<String>, outcome: impl FnOnce(String) -> Outcome) -> Outcome {
    match name {
        Some(name) if !name.is_empty() => outcome(name),
        _ => Outcome::Unknown(Cause::Peer),
    }
}

/// What a refusal of a step means. Only the contracts' own reasons count: whatever else comes back,
/// from the peer or from the mesh between, says nothing about the outcome.
fn meaning(step: Step, refusal: &Status) -> Outcome {
    let reason = status::reason(refusal).unwrap_or_default();
    match (step, reason.as_str()) {
        (Step::Reserve, "OUT_OF_STOCK") => {
            Outcome::Refused(Rejection::OutOfStock(shortage(refusal)))
        }
        (Step::Authorize, "CARD_DECLINED") => Outcome::Refused(Rejection::CardDeclined),
        (Step::Authorize, "CARD_TOKEN_NOT_FOUND") => Outcome::Refused(Rejection::CardTokenNotFound),
        (Step::Authorize, "CARD_TOKEN_EXPIRED") => Outcome::Refused(Rejection::CardTokenExpired),
        // Somebody gave this order's authorization up; nothing can be held with it any more.
        (Step::Authorize, "AUTHORIZATION_VOIDED") => Outcome::Refused(Rejection::PaymentTimedOut),
        (Step::Authorize, "PROVIDER_UNAVAILABLE") => Outcome::Unknown(Cause::Provider),
        (Step::Confirm, "RESERVATION_GONE" | "RESERVATION_NOT_FOUND") => {
            Outcome::Refused(Rejection::OutOfStock(None))
        }
        (Step::Capture, "PAYMENT_NOT_AUTHORIZED" | "PAYMENT_NOT_FOUND") => {
            Outcome::Refused(Rejection::PaymentTimedOut)
        }
        (Step::Void, "PAYMENT_CAPTURED") => Outcome::Captured,
        (Step::Void, "PAYMENT_NOT_FOUND")
        | (Step::Refund, "PAYMENT_NOT_CAPTURED" | "PAYMENT_NOT_FOUND")
        | (Step::Release, "RESERVATION_NOT_FOUND") => Outcome::Done,
        _ => {
            let code = refusal.code();
            tracing::warn!(
                ?step,
                ?code,
                reason,
                message = refusal.message(),
                "step has no answer"
            );
            // The payment service waits for its provider within our time; when that is over, it was
            // most likely the provider.
            if step == Step::Authorize && code == Code::DeadlineExceeded {
                Outcome::Unknown(Cause::Provider)
            } else {
                Outcome::Unknown(Cause::Peer)
            }
        }
    }
}

/// What inventory says of the line that it could not reserve.
fn shortage(refusal: &Status) -> Option<Shortage> {
    let mut facts = refusal.get_details_error_info()?.metadata;
    Some(Shortage {
        variant: facts.remove("variant")?,
        available: facts.get("available")?.parse().ok()?,
    })
}

fn variant_error(refusal: Status) -> OrderError {
    if status::reason(&refusal).as_deref() == Some("VARIANT_NOT_FOUND") {
        return OrderError::VariantNotFound(refusal);
    }
    OrderError::Catalogue(refusal)
}

fn offer(variant: Variant) -> Result<Offer, OrderError> {
    let price = variant.price.unwrap_or_default();
    let price = Money::from_message(&price).map_err(|error| {
        let message = format!("`{}` has no price: {error}", variant.name);
        OrderError::Catalogue(Status::internal(message))
    })?;
    Ok(Offer {
        variant: variant.name,
        title: variant.title,
        price,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_mesh_say_nothing_about_the_outcome() {
        let refusals = [
            Status::not_found("no such service"),
            Status::failed_precondition("who knows"),
            Status::permission_denied("not allowed"),
            status::error_info(Code::Unavailable, "NO_HEALTHY_ENDPOINT", "", []),
        ];
        for refusal in refusals {
            for step in [
                Step::Reserve,
                Step::Confirm,
                Step::Capture,
                Step::Void,
                Step::Release,
            ] {
                let unknown = Outcome::Unknown(Cause::Peer);
                assert_eq!(meaning(step, &refusal), unknown, "{step:?} {refusal:?}");
            }
        }
    }

    #[test]
    fn slow_provider_and_absent_payments_are_told_apart() {
        let silent = status::error_info(Code::Unavailable, "PROVIDER_UNAVAILABLE", "", []);
        for (refusal, cause) in [
            (silent, Cause::Provider),
            (Status::deadline_exceeded(""), Cause::Provider),
            (Status::unavailable(""), Cause::Peer),
        ] {
            assert_eq!(meaning(Step::Authorize, &refusal), Outcome::Unknown(cause));
        }
    }
}
