//! `PaymentService`: check the request, do the operation, answer.

mod cards;

pub use cards::Cards;

use contracts::sockshop::payments::v1::{
    self as pb, payment_service_server::PaymentService, void_payment_request::Target,
};
use service_kit::{
    Money,
    money::MoneyError,
    paging::{Page, Sizes},
    status, time, validate,
};
use tonic::{Request, Response, Status};

use crate::{
    error::PaymentError,
    operations::Operations,
    payment::{Demand, Payment, Stage},
    store::Entry,
};

const LEDGER_PAGES: Sizes = Sizes {
    default: 100,
    max: 500,
};

/// The service over gRPC.
#[derive(Clone)]
pub struct Payments {
    operations: Operations,
}

impl Payments {
    /// Serves these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn authorize_payment(
        &self,
        request: Request<pb::AuthorizePaymentRequest>,
    ) -> Result<Response<pb::AuthorizePaymentResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let request_id = request.request_id.to_ascii_lowercase();
        let amount = request.amount.unwrap_or_default();
        let amount = Money::from_message(&amount).map_err(invalid_amount)?;
        if amount.minor_units() <= 0 {
            return Err(status::invalid("amount", "must be more than zero"));
        }
        let demand = Demand {
            order: request.order,
            customer: request.customer,
            card_token: request.card_token,
            amount,
        };
        let payment = self.operations.authorize(&request_id, demand).await?;
        let payment = Some(message(payment));
        Ok(Response::new(pb::AuthorizePaymentResponse { payment }))
    }

    async fn capture_payment(
        &self,
        request: Request<pb::CapturePaymentRequest>,
    ) -> Result<Response<pb::CapturePaymentResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let payment = self.operations.capture(id(&request.name)?).await?;
        let payment = Some(message(payment));
        Ok(Response::new(pb::CapturePaymentResponse { payment }))
    }

    async fn void_payment(
        &self,
        request: Request<pb::VoidPaymentRequest>,
    ) -> Result<Response<pb::VoidPaymentResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let payment = match request.target {
            Some(Target::Name(name)) => Some(self.operations.void(id(&name)?).await?),
            Some(Target::AuthorizationRequestId(request_id)) => {
                let request_id = request_id.to_ascii_lowercase();
                self.operations.void_authorization(&request_id).await?
            }
            None => return Err(status::invalid("target", "must be set")),
        };
        let payment = payment.map(message);
        Ok(Response::new(pb::VoidPaymentResponse { payment }))
    }

    async fn refund_payment(
        &self,
        request: Request<pb::RefundPaymentRequest>,
    ) -> Result<Response<pb::RefundPaymentResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let request_id = request.request_id.to_ascii_lowercase();
        let payment = self
            .operations
            .refund(&request_id, id(&request.name)?)
            .await?;
        let payment = Some(message(payment));
        Ok(Response::new(pb::RefundPaymentResponse { payment }))
    }

    async fn get_payment(
        &self,
        request: Request<pb::GetPaymentRequest>,
    ) -> Result<Response<pb::GetPaymentResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let payment = self.operations.payment(id(&request.name)?).await?;
        let payment = Some(message(payment));
        Ok(Response::new(pb::GetPaymentResponse { payment }))
    }

    async fn list_ledger_entries(
        &self,
        request: Request<pb::ListLedgerEntriesRequest>,
    ) -> Result<Response<pb::ListLedgerEntriesResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let page = Page::new(
            request.page_size,
            &request.page_token,
            &["ledger"],
            LEDGER_PAGES,
        )?;
        let after = page.after::<i64>()?.unwrap_or(0);
        let entries = self.operations.store().ledger(after, page.limit()).await?;
        let (entries, next_page_token) = page.finish(entries, |entry| entry.sequence);
        let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListLedgerEntriesResponse {
            entries,
            next_page_token,
        }))
    }
}

/// The id in a name of the form `payments/{payment}`.
fn id(name: &str) -> Result<&str, PaymentError> {
    let not_found = || PaymentError::PaymentNotFound(name.to_owned());
    name.strip_prefix("payments/").ok_or_else(not_found)
}

fn invalid_amount(error: MoneyError) -> PaymentError {
    PaymentError::Invalid {
        field: "amount",
        reason: error.to_string(),
    }
}

fn message(payment: Payment) -> pb::Payment {
    let state = match payment.stage {
        Stage::Asked | Stage::Declined | Stage::Closed => pb::PaymentState::Unspecified,
        Stage::Authorized => pb::PaymentState::Authorized,
        Stage::Captured => pb::PaymentState::Captured,
        Stage::Voided => pb::PaymentState::Voided,
        Stage::Refunded => pb::PaymentState::Refunded,
    };
    let demand = payment.demand;
    pb::Payment {
        name: format!("payments/{}", payment.id),
        amount: demand.as_ref().map(|demand| demand.amount.to_message()),
        order: demand.map(|demand| demand.order).unwrap_or_default(),
        state: state.into(),
        card_brand: payment.card_brand,
        card_last_four: payment.card_last_four,
        create_time: Some(time::to_timestamp(payment.create_time)),
    }
}

fn entry(entry: Entry) -> Result<pb::LedgerEntry, Status> {
    let amount = Money::from_stored(entry.minor_units, &entry.currency);
    let amount = amount.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "stored amount is broken"
        );
        status::internal()
    })?;
    Ok(pb::LedgerEntry {
        sequence: entry.sequence,
        transaction: entry.movement,
        payment: format!("payments/{}", entry.payment),
        account: entry.account,
        amount: Some(amount.to_message()),
        create_time: Some(time::to_timestamp(entry.create_time)),
    })
}
