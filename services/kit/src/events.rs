//! Events between services: the stream that serves an outbox, and the consumer of another's.

mod consume;
mod metrics;
mod parked;
mod place;
mod serve;

use std::pin::Pin;

use contracts::weft::events::v1::{StreamEventsResponse, event_service_server::EventServiceServer};
use futures::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use consume::{Consumer, Handler};
pub use contracts::weft::events::v1::Event;
pub use parked::{Parked, parked};

use crate::Db;

type Events = Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

/// The server of the outbox in `db`; its streams end when `drain` is cancelled. [`crate::Server`] adds
/// it with [`crate::Server::with_events`].
pub fn event_service(db: Db, drain: CancellationToken) -> EventServiceServer<serve::Outbox> {
    EventServiceServer::new(serve::Outbox::new(db, drain))
}
