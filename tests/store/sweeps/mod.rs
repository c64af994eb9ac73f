//! Revoking all keys of an owner, and purging it: one commit that binds, and pieces that change no
//! answer.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod binding;
mod counts;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod damage;
mod law;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod shared;
mod stops;
