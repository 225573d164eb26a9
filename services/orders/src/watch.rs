//! Waiting for an order to change.
//!
//! Changes of this process are told at once; those of other replicas are found by looking.

use std::{sync::Arc, time::Duration};

use contracts::sockshop::orders::v1::WatchOrderResponse;
use futures::{Stream, stream};
use service_kit::{CancellationToken, StoreError, status};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::Status;

use crate::{message, order::Order, store::Store};

/// How soon a change by another replica is seen.
const POLL: Duration = Duration::from_millis(500);

/// Told changes of all orders, from [`crate::executor::Executor::changes`].
pub type Changes = broadcast::Receiver<Arc<str>>;

/// Waits for the order's final state.
///
/// # Errors
///
/// If the store does not answer.
pub async fn end(store: &Store, mut changes: Changes, order: &Order) -> Result<Order, StoreError> {
    let mut order = order.clone();
    while !order.saga.state.is_final() {
        told(&mut changes, &order.id).await;
        order = store.order(&order.id).await?.unwrap_or(order);
    }
    Ok(order)
}

/// The order as it is, then as it was after every change, until its final state. Ends with
/// `UNAVAILABLE` when `drain` is cancelled.
pub fn changes(
    store: Store,
    changes: Changes,
    order: Order,
    drain: CancellationToken,
) -> impl Stream<Item = Result<WatchOrderResponse, Status>> + Send {
    let watch = Watch {
        store,
        changes,
        sent: order.history.len() - 1,
        order,
        drain,
    };
    stream::unfold(Some(watch), |watch| async { watch?.next().await })
}

struct Watch {
    store: Store,
    changes: Changes,
    order: Order,
    /// How many entries of the history were sent.
    sent: usize,
    drain: CancellationToken,
}

type Item = Result<WatchOrderResponse, Status>;

impl Watch {
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        while self.sent >= self.order.history.len() {
            if self.order.saga.state.is_final() {
                return None;
            }
            tokio::select! {
                () = told(&mut self.changes, &self.order.id) => {}
                () = self.drain.cancelled() => {
                    let message = "this replica ends; watch again";
                    return Some((Err(status::unavailable("DRAINING", message)), None));
                }
            }
            match self.store.order(&self.order.id).await {
                Ok(Some(order)) => self.order = order,
                Ok(None) => return None,
                Err(error) => return Some((Err(error.into()), None)),
            }
        }
        self.sent += 1;
        let order = Some(message::order(&self.order.as_of(self.sent)));
        Some((Ok(WatchOrderResponse { order }), Some(self)))
    }
}

/// Returns when the order may have changed.
async fn told(changes: &mut Changes, id: &str) {
    let hear = async {
        loop {
            match changes.recv().await {
                Ok(changed) if &*changed == id => return,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    };
    // Not hearing for a while is as good as hearing: the caller looks.
    let _ = tokio::time::timeout(POLL, hear).await;
}
