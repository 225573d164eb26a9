//! `OrderService`: check the request, call the domain, answer.

use std::{pin::Pin, time::Duration};

use contracts::sockshop::orders::v1::{
    self as pb, order_service_server::OrderService as OrderServiceApi,
};
use futures::Stream;
use service_kit::{
    CancellationToken,
    paging::{Page, Sizes},
    subject, time, validate,
};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::{
    error::OrderError,
    executor::Executor,
    message,
    order::{Order, Placement},
    peers::Peers,
    saga::{Rejection, State},
    store::{Placed, Store},
    watch,
};

const PAGES: Sizes = Sizes {
    default: 20,
    max: 100,
};

/// The service over gRPC.
#[derive(Clone)]
pub struct Orders {
    store: Store,
    peers: Peers,
    executor: Executor,
    drain: CancellationToken,
}

impl Orders {
    /// Serves the orders of `store`; streams end when `drain` is cancelled.
    pub fn new(store: Store, peers: Peers, executor: Executor, drain: CancellationToken) -> Self {
        Self {
            store,
            peers,
            executor,
            drain,
        }
    }

    /// The order that this placement made, now or before.
    async fn place(&self, placement: Placement) -> Result<Order, OrderError> {
        let request_id = placement.request_id.clone();
        placement.check_variants()?;
        let placed = match self.store.placed(&placement).await? {
            Placed::New => {
                let offers = self.peers.offers(&placement.items).await?;
                let trace = weft_runtime::trace::traceparent().unwrap_or_default();
                let order = Order::new(placement, &offers, trace, time::now_micros())?;
                match self.executor.place(&order).await? {
                    Placed::New => Placed::Before(Box::new(order)),
                    other => other,
                }
            }
            other => other,
        };
        match placed {
            Placed::Before(order) => Ok(*order),
            Placed::New | Placed::Reused => Err(OrderError::RequestIdReused(request_id)),
        }
    }

    /// The order of this name if it is the customer's.
    async fn own(&self, customer: &str, name: &str) -> Result<Order, OrderError> {
        let not_found = || OrderError::NotFound(name.to_owned());
        let id = name.strip_prefix("orders/").ok_or_else(not_found)?;
        let order = self.store.order(id).await?;
        order
            .filter(|order| order.placement.customer == customer)
            .ok_or_else(not_found)
    }
}

#[tonic::async_trait]
impl OrderServiceApi for Orders {
    async fn place_order(
        &self,
        request: Request<pb::PlaceOrderRequest>,
    ) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        let deadline = Instant::now() + self.answer_within();
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let order = request.order.unwrap_or_default();
        let placement = message::placement(customer.name(), &request.request_id, order);
        // Subscribed before the order is placed, so that no change is missed.
        let changes = self.executor.changes();
        let order = self.place(placement).await?;
        let order = match timeout_at(deadline, watch::end(&self.store, changes, &order)).await {
            Ok(ended) => ended?,
            Err(_) => self.own(customer.name(), &order.name()).await?,
        };
        if order.saga.state == State::Rejected {
            let name = order.name();
            let why = order.saga.rejection.unwrap_or(Rejection::PaymentTimedOut);
            return Err(OrderError::Rejected { order: name, why }.into());
        }
        let order = Some(message::order(&order));
        Ok(Response::new(pb::PlaceOrderResponse { order }))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let order = self.own(customer.name(), &request.name).await?;
        let order = Some(message::order(&order));
        Ok(Response::new(pb::GetOrderResponse { order }))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let page = Page::new(
            request.page_size,
            &request.page_token,
            &[customer.name()],
            PAGES,
        )?;
        let rows = self
            .store
            .orders(customer.name(), page.after()?, page.limit())
            .await?;
        let (rows, next_page_token) =
            page.finish(rows, |order| (order.create_time(), order.id.clone()));
        Ok(Response::new(pb::ListOrdersResponse {
            orders: rows.iter().map(message::order).collect(),
            next_page_token,
        }))
    }

    type WatchOrderStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchOrderResponse, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<pb::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let changes = self.executor.changes();
        let order = self.own(customer.name(), &request.name).await?;
        let stream = watch::changes(self.store.clone(), changes, order, self.drain.clone());
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Orders {
    /// How long `PlaceOrder` waits: a little less than the caller does, so that it gets an answer.
    fn answer_within(&self) -> Duration {
        let patience = self.executor.settings().answer_within;
        let left = service_kit::remaining().unwrap_or(patience);
        patience.min(left.mul_f32(0.9))
    }
}
