//! What every service shares: serving ([`Server`]), upstreams by name ([`Upstream`]), the database
//! ([`Db`]), commands that act once ([`idempotency`]), events ([`outbox`], [`events`]), lists in pages
//! ([`paging`]), money ([`money`]), and errors that callers can act upon ([`status`]).
//!
//! It knows no business and no mesh: a service dials others by name and cannot tell whether a sidecar
//! is between. Futures are boxed at this crate's edge, so that services do not compile its innards.
//!
//! A whole service, but for its contract and its SQL:
//!
//! ```no_run
//! use service_kit::{Db, Server, db::Migrator};
//!
//! # const _: &str = stringify! {
//! pub static MIGRATIONS: Migrator = sqlx::migrate!();
//! # };
//! # static MIGRATIONS: Migrator = Migrator::DEFAULT;
//!
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     kit: service_kit::Args,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service_kit::run("orders", async |args: Args, token| {
//!         let db = Db::open(&args.kit.database_url("orders"), &MIGRATIONS).await?;
//!         let payments = service_kit::upstream::upstream("payments:7070", &args.kit)?;
//!         # let _ = payments;
//!         Server::new(db)
//!             // .add_service(OrderServiceServer::new(Orders::new(db, payments)))
//!             .with_events()
//!             .run(&args.kit, token)
//!             .await
//!     })
//! }
//! ```
//!
//! In a handler, a command reads like this: [`subject`] says who asks, [`validate`] checks the
//! request, an [`idempotency::Key`] finds the first result, [`Db::begin`] opens the transaction that
//! changes rows, appends events and records the result, and `?` turns every error into a status.

mod args;
mod call;
pub mod db;
mod error;
pub mod events;
pub mod idempotency;
pub mod ids;
pub mod money;
pub mod outbox;
pub mod paging;
mod run;
pub mod server;
pub mod status;
mod subject;
pub mod testing;
pub mod time;
pub mod upstream;
mod validate;

pub use args::Args;
pub use call::{remaining, with_deadline, without_deadline};
pub use db::{Db, Tx};
pub use error::StoreError;
pub use money::Money;
pub use run::run;
pub use server::Server;
pub use subject::{Subject, forward_subject, optional_subject, subject};
pub use tokio_util::sync::CancellationToken;
pub use upstream::Upstream;
pub use validate::validate;
pub use weft_runtime::{metrics, parse_duration};
