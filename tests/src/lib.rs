//! The whole system, run for real: `tests/` holds one file per promise.

pub mod attacks;
pub mod http;
pub mod manifests;
pub mod memory;
pub mod peers;
pub mod relay;
pub mod sdk;
pub mod shop;
pub mod shopper;
pub mod tools;

pub use shop::{Customer, Shop, order, until};
