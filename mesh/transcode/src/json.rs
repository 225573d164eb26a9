//! JSON text and wire bytes, each from the other, by the compiled plan.

mod from;
mod read;
mod to;
mod values;
mod write;

pub(crate) use from::FromJson;
pub(crate) use read::{Found, Reader};
pub(crate) use to::ToJson;
pub(crate) use values::put_scalar_text;
