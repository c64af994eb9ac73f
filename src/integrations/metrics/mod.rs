#![doc = include_str!("../../../docs/metrics.md")]

mod backend;
#[cfg(feature = "tower")]
mod layer;
mod measured;
mod names;

pub use backend::MeasuredBackend;
#[cfg(feature = "tower")]
pub use layer::count_requests;
pub use measured::Measured;
