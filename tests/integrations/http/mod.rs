//! Requests through the layer, the guards and the extractors: each refusal by its status, headers
//! and body, and what passes.

#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod addresses;
mod bodies;
mod caching;
mod callers;
mod catalogues;
mod challenges;
mod credentials;
mod double;
mod end_to_end;
#[cfg(all(feature = "sqlite", feature = "tokio"))]
pub(crate) mod example;
mod failed_calls;
mod guards;
mod headers;
mod hooks;
mod limits;
mod nested;
mod policies;
mod recheck;
mod refusals;
#[cfg(all(feature = "recoverable", feature = "sqlite", feature = "testing", feature = "tokio"))]
pub(crate) mod ricloud;
mod sensitive;
#[cfg(all(feature = "sqlite", feature = "testing", feature = "tokio"))]
pub(crate) mod sensorbucket;
mod service;
mod shapes;
pub(crate) mod site;
mod spans;
mod structured;
#[cfg(all(feature = "recoverable", feature = "sqlite", feature = "testing", feature = "tokio"))]
mod thieves;
mod waiting;
