//! Revoking all keys of an owner, and purging it: one commit that binds, and pieces that change no
//! answer.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod binding;
mod law;
#[cfg(feature = "sqlite")]
mod shared;
