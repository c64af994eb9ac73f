//! Databases of which something is damaged: nothing verifies that shouldn't, everything else does,
//! and every key can be ended.
#![cfg(all(feature = "sqlite", feature = "sled"))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod check;
mod earlier;
mod engines;
mod law;
mod metadata;
mod rows;
mod world;
