//! The work of each fuzz target on an input. It panics where a law is broken.
//!
//! The fuzzer (`fuzz/`) and the replay without it (`tests/fuzz/main.rs`) run the same code.
#![allow(unreachable_pub, missing_docs)] // Two crates are made of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // It is a test.

pub mod alike;
pub mod cursor;
pub mod damaged_sled;
pub mod damaged_sqlite;
mod history;
mod input;
#[path = "../../backends/old_files/packed.rs"]
mod packed;
pub mod permissions;
mod quiet;
pub mod settings;
pub mod sled_records;
pub mod sqlite_rows;
mod table;
pub mod token;
#[path = "../../backends/old_files/world.rs"]
mod world;

pub use table::{TARGETS, Target};
