//! Counters, histograms and gauges of a store and its backend, through the facade crate `metrics`.
//!
//! [The page about metrics](crate::guide::metrics) lists them with their names, units and labels, and
//! shows how to install them.

mod backend;
#[cfg(feature = "tower")]
mod layer;
mod measured;
mod names;

pub use backend::MeasuredBackend;
#[cfg(feature = "tower")]
pub use layer::count_requests;
pub use measured::Measured;
