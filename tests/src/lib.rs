//! The whole system, run for real: `tests/` holds one file per promise.

pub mod http;
pub mod shop;

pub use shop::{Customer, Shop, order, until};
