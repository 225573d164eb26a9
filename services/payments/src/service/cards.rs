//! `CardService`: the only handler that ever sees a card number. It must not log its request.

use contracts::sockshop::payments::v1::{
    CardToken, TokenizeCardRequest, TokenizeCardResponse, card_service_server::CardService,
};
use service_kit::{subject, validate};
use tonic::{Request, Response, Status};

use crate::{
    card::{Card, CardError, Expiry},
    error::PaymentError,
    operations::{Operations, today},
};

/// The service over gRPC.
#[derive(Clone)]
pub struct Cards {
    operations: Operations,
}

impl Cards {
    /// Serves these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

#[tonic::async_trait]
impl CardService for Cards {
    async fn tokenize_card(
        &self,
        request: Request<TokenizeCardRequest>,
    ) -> Result<Response<TokenizeCardResponse>, Status> {
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let card = check(request)?;
        let token = self.operations.tokenize(customer.name(), card).await?;
        let card_token = CardToken {
            name: format!("cardTokens/{}", token.id),
            brand: token.card.brand,
            last_four: token.card.last_four,
            expiry_month: token.card.expiry.month,
            expiry_year: token.card.expiry.year,
        };
        Ok(Response::new(TokenizeCardResponse {
            card_token: Some(card_token),
        }))
    }
}

/// Takes the request apart: whatever is not needed to pay is gone when it returns.
fn check(request: TokenizeCardRequest) -> Result<Card, PaymentError> {
    let typed = request.card.ok_or(CardError::Number)?;
    let expiry = Expiry {
        year: typed.expiry_year,
        month: typed.expiry_month,
    };
    Ok(Card::check(typed.number, expiry, today())?)
}
