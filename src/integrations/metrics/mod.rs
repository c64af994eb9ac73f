#![doc = include_str!("../../../docs/metrics.md")]

mod backend;
mod measured;
mod names;

pub use backend::MeasuredBackend;
pub use measured::Measured;
