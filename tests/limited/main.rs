//! What limits of keys and owners refuse, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "testing")]
#[path = "../opening/keep_open.rs"]
#[allow(dead_code)] // It has more than is needed here.
mod keep_open;
mod order;
mod place;
#[cfg(feature = "testing")]
mod quotas;
mod rates;
