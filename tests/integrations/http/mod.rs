//! Requests through the layer, the guards and the extractors: each refusal by its status, headers
//! and body, and what passes.

#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod addresses;
mod bodies;
mod callers;
mod catalogues;
mod credentials;
mod double;
mod end_to_end;
#[cfg(all(feature = "sqlite", feature = "tokio"))]
pub(crate) mod example;
mod guards;
mod headers;
mod limits;
mod refusals;
#[cfg(all(feature = "recoverable", feature = "sqlite", feature = "testing", feature = "tokio"))]
pub(crate) mod ricloud;
#[cfg(all(feature = "sqlite", feature = "testing", feature = "tokio"))]
pub(crate) mod sensorbucket;
mod service;
mod shapes;
mod site;
#[cfg(all(feature = "recoverable", feature = "sqlite", feature = "testing", feature = "tokio"))]
mod thieves;
mod waiting;
