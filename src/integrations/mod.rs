//! At home in a service: what stands between a [`KeyStore`](crate::store::KeyStore) and the
//! libraries that a Rust service is made of. Each part is a feature; off, nothing of it is built.
//!
//! - `http` (with `tower`): where a request's token stands, and what a refused one is answered, as
//!   plain functions over the types of the crate `http`.
//! - `tower`: the layer that verifies each request, and guards behind it.
//! - `axum`: extractors, on top of the layer.
//! - `tokio`: management calls as futures.
//! - `tracing`, `metrics`: stores around a store, which tell what it does; `observed` is what the
//!   two share.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub mod observed;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod tracing;
