//! The front of the mesh (`weft edge`): one port for browsers, phones, curl and gRPC clients.
//!
//! A request takes this way: [`server`](crate::serve) accepts its connection, [`Front::handle`] gives it an id, a
//! span and a log line and decides who answers: native gRPC (`grpc.rs`), reflection and health
//! (`local.rs`), the API's description (`openapi.rs`, `docs.rs`), a REST binding (`rest.rs`, with
//! `stream.rs` for server streams), or a page of the storefront (`pages.rs`). Before a method is called
//! its token is checked (`auth.rs`, `keys.rs`); the call itself goes through [`Upstream`], which is
//! `weft-channel` in production.
//!
//! It leaves to others: what a binding means and JSON (`weft-transcode`), endpoints, retries and
//! deadlines (`weft-channel`, `weft-policy`), who may call which service (the sidecars). Internal
//! methods, those without the contract's access option, exist over no protocol here. Start reading at
//! `front.rs`.

mod api;
mod args;
mod auth;
mod crypto;
mod direct;
mod docs;
mod failure;
mod frames;
mod front;
mod grpc;
mod head;
mod headers;
mod input;
mod keys;
mod local;
mod metrics;
mod observe;
mod openapi;
mod pages;
mod rest;
mod run;
mod server;
mod stall;
mod stream;
mod upstream;
mod watched;

pub use args::{Args, Upstreams};
pub use auth::Issuer;
pub use failure::ERROR_DOMAIN;
pub use front::{Config, ConfigError, Front};
pub use pages::PagesError;
pub use run::run;
pub use server::serve;
pub use upstream::Upstream;
