//! Limits of keys and owners: which uses they reject, in which order, and how exactly they count.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[cfg(feature = "testing")]
mod counts;
#[cfg(feature = "testing")]
mod failing;
#[cfg(feature = "testing")]
mod gated;
#[cfg(feature = "testing")]
mod leases;
mod order;
mod place;
#[cfg(feature = "testing")]
mod quotas;
mod rates;
#[cfg(feature = "testing")]
mod settling;
