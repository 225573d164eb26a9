//! Places orders and takes them through stock and payment.
//!
//! Owner: checkout team.
//!
//! An order is a saga over `inventory` and `payments`: reserve, authorize, confirm, capture, with a way
//! back from every step. Stock is inventory's business and money payments'; this service decides what
//! is to be done next, writes it down before it is done, and never gives up halfway, whoever crashes
//! in between. Paid and rejected orders are told as events.
//!
//! Start reading at [`saga`], the state machine, then [`executor`], which runs it.

pub mod error;
pub mod executor;
mod message;
pub mod order;
pub mod peers;
pub mod saga;
mod service;
pub mod store;
mod watch;

use contracts::sockshop::orders::v1::order_service_server::OrderServiceServer;
use service_kit::{Db, Server, db::Migrator};

use crate::{
    executor::{Executor, Settings},
    peers::{Peers, Upstreams},
    service::Orders,
    store::Store,
};

/// The service's schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// The service, ready to be run or served. Sagas run while it is served.
pub fn server(db: Db, upstreams: Upstreams, settings: Settings) -> Server {
    let server = Server::new(db.clone());
    let drain = server.drain_token();
    let store = Store::new(db);
    let peers = Peers::new(upstreams, settings.call_timeout);
    let executor = Executor::new(store.clone(), peers.clone(), settings, drain.clone());
    let orders = Orders::new(store, peers, executor.clone(), drain);
    server
        .add_service(OrderServiceServer::new(orders))
        .with_events()
        .with_task("sagas", move |_| executor.sweep())
}
