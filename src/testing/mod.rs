//! For tests of services, and for authors of backends.
//!
//! [`TestStore`] is a store in memory for a service's own tests: with known tokens, and a clock that the
//! test moves.
//!
//! [`conformance`] holds a backend to its contract, [`Failing`] makes one fail when a test wants
//! it to, [`sample`] makes valid records, and [`differences`] compares them field by field.
//! [A guide](crate::guide::writing_a_backend) writes a backend from scratch and has it conform.

pub mod conformance;
mod damaged;
pub mod differences;
mod failing;
mod fault;
pub mod sample;
mod test_store;

pub use failing::Failing;
pub use fault::{Fault, Moment, Target};
pub use test_store::TestStore;
