//! For tests of services, and for authors of backends.
//!
//! [`TestStore`] is a store in memory for a service's own tests: with known tokens, and a clock that the
//! test moves.
//!
//! [`conformance`] holds a backend to its contract, [`Failing`] makes one fail when a test wants
//! it to, [`sample`] makes valid records, and [`differences`] compares them field by field.
//! `docs/writing-a-backend.md` writes a backend from scratch and has it conform.

pub mod conformance;
mod damaged;
pub mod differences;
mod failing;
mod fault;
#[cfg(all(doctest, feature = "sqlite"))]
mod operations;
pub mod sample;
mod test_store;
#[cfg(doctest)]
mod writing_a_backend;

pub use failing::Failing;
pub use fault::{Fault, Moment, Target};
pub use test_store::TestStore;
