//! A store around a store, which tells an [`Observer`] of each call: what `tracing` and `metrics`
//! share, and what a service's own observer can be put into.
//!
//! Who doesn't wrap a store pays nothing: the store itself knows of neither.

mod names;
mod observer;
mod store;

#[cfg(feature = "metrics")]
pub(super) use names::verification_outcomes;
pub(super) use names::{call_outcome, verification_outcome};
pub use observer::{Call, Observer};
pub use store::Observed;
