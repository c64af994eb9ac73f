//! The example `taapit` by its answers: each route, each permission level, each refusal.

#![cfg(all(feature = "axum", feature = "sqlite", feature = "tokio"))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[allow(dead_code)] // Its `main` belongs to the example.
#[path = "../../../examples/taapit/main.rs"]
pub(crate) mod example;

mod accounts;
mod alerts;
mod bad_input;
mod keys;
mod lasting;
mod levels;
mod limits;
mod pages;
mod refusals;
mod rotation;
mod world;
