//! Databases of which something is damaged: nothing verifies that shouldn't, everything else does,
//! and every key can be ended.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

#[cfg(all(feature = "sqlite", feature = "sled"))]
mod check;
#[cfg(all(feature = "sqlite", feature = "sled"))]
mod law;
#[cfg(feature = "sqlite")]
mod rows;
mod world;
