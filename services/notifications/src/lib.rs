//! Turns the events of orders into mails, each once.
//!
//! Owner: the customer-care team. Contract: `proto/sockshop/notifications/v1/notifications.proto`. The
//! event's cursor moves in the transaction that queues the mail, so that a mail is queued once
//! however often this process dies; [`sender`] then hands waiting mails to a [`mailer::Mailer`].
//! While this service is away, orders go on: the events wait in the outbox of `orders`.

mod events;
mod letter;
pub mod mailer;
mod sender;
mod service;
mod store;

use std::sync::Arc;

use contracts::sockshop::notifications::v1::notification_service_server::NotificationServiceServer;
use service_kit::{Db, Server, Upstream, events::Consumer};
use tokio::sync::Notify;

pub use store::MIGRATIONS;

/// The notifications over a database, the events of orders and a way to send; ready to serve.
pub fn server(db: Db, orders: Upstream, mailer: impl mailer::Mailer) -> Server {
    let store = store::Store::new(db.clone());
    let queued = Arc::new(Notify::new());
    let handler = events::OrderEvents {
        queued: Arc::clone(&queued),
    };
    let consumer =
        Consumer::new("notifications", "orders", orders, db.clone()).types([events::ORDER_EVENT]);
    let service = NotificationServiceServer::new(service::Notifications::new(store.clone()));
    Server::new(db)
        .add_service(service)
        .with_task("order events", |token| consumer.run(handler, token))
        .with_task("sender", move |token| {
            sender::run(store, mailer, queued, token)
        })
}
