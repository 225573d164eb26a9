//! Policy tests in virtual time: the real engine, scripted endpoints, a clock that only events move.
//!
//! A `*.policytest.yaml` file holds a mesh, or names a mesh file, and cases: what endpoints there are and
//! how they behave, who calls, and what must come of it. [`Suite::load`] reads one, [`Suite::run`] plays a
//! case. The simulator plays the executor and the workloads; each decision is `weft_policy`'s own. Time
//! is virtual, randomness comes from a seed, and a case is the same each time.
//!
//! Start reading at `spec.rs` (what a file says), then `world.rs` (what happens) and `judge.rs` (whether
//! it is what was expected). Printing results is left to the `weft` command.

mod contract;
mod fragment;
mod judge;
mod read;
mod spec;
mod story;
mod words;
mod world;

pub use judge::{Mismatch, Outcome, TimelineLine};
pub use read::Load;
pub use spec::{Case, Suite};
