//! Integrations of a [`KeyStore`](crate::store::KeyStore) with the libraries of a Rust service.
//! Each is a feature; with the feature off, nothing of it is built.
//!
//! - `http` (with `tower`): plain functions over the types of the crate `http`, which find a
//!   request's token and answer a rejected request.
//! - `tower`: the layer that verifies each request, and guards behind it.
//! - `axum`: extractors, on top of the layer.
//! - `tokio`: management calls as futures.
//! - `tracing`, `metrics`: stores around a store that observe its calls.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod outcomes;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod tracing;
