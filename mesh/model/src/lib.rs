//! The mesh file as checked types, every problem with its place.

pub mod dataplane;
