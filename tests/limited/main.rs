//! What limits of keys and owners refuse, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "testing")]
#[path = "../common/keep_open.rs"]
mod keep_open;
mod order;
mod place;
#[cfg(feature = "testing")]
mod quotas;
mod rates;
