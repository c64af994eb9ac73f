//! What limits of keys and owners refuse, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[path = "../common/mod.rs"]
mod common;
mod order;
mod place;
mod rates;
