//! What limits of keys and owners refuse, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod order;
mod place;
#[cfg(feature = "testing")]
mod quotas;
mod rates;
