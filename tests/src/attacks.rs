//! What it takes to attack a listener: raw HTTP/2 frames, bad certificates, and a bystander who must not
//! notice.

pub mod bystander;
pub mod certificates;
pub mod door;
pub mod frames;
pub mod raw;

pub use bystander::Bystander;
pub use door::Door;
pub use raw::{Ending, Raw};
