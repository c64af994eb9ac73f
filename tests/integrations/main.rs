//! The integrations, and the example services that stand on them.

#![allow(clippy::duplicate_mod)] // Each example comes with the files that the examples share.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod examples;
mod http;
mod metrics;
mod taapit;
mod tokio;
mod tracing;
mod webhook;
