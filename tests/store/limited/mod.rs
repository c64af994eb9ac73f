//! Limits of keys and owners: which uses they reject, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[cfg(feature = "testing")]
mod counts;
#[cfg(feature = "testing")]
mod leases;
mod order;
mod place;
#[cfg(feature = "testing")]
mod quotas;
mod rates;
