//! What an event of an order does: it queues one mail.

use std::sync::Arc;

use anyhow::Context as _;
use contracts::sockshop::orders::v1::OrderEvent;
use prost::Message as _;
use service_kit::{
    Tx,
    events::{Event, Handler},
};
use tokio::sync::Notify;

use crate::{letter, store};

/// The type of the events that are followed.
pub const ORDER_EVENT: &str = "sockshop.orders.v1.OrderEvent";

/// Queues a mail for each event.
#[derive(Debug)]
pub struct OrderEvents {
    /// Wakes the sender.
    pub queued: Arc<Notify>,
}

#[tonic::async_trait]
impl Handler for OrderEvents {
    async fn handle(&self, tx: &mut Tx, event: &Event) -> anyhow::Result<()> {
        let payload = event.payload.as_ref().context("the event has no payload")?;
        let order = OrderEvent::decode(payload.value.as_slice())
            .context("the payload is no OrderEvent")?
            .order
            .context("the event has no order")?;
        if let Some(letter) = letter::about(&order) {
            store::queue(tx, &order.customer, &order.name, &letter).await?;
            // The commit follows; the sender looks again anyway should it be quicker.
            self.queued.notify_one();
        }
        Ok(())
    }
}
