//! What is SQLite's own: which files are refused, sharing, versions of the schema, durability,
//! closing, and that records come back as they went in.
#![cfg(feature = "sqlite")]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod alike;
mod backup;
mod closed;
mod durable;
mod foreign_log;
mod full_disk;
mod log;
mod newer;
mod opening;
#[cfg(unix)]
mod operations;
mod processes;
mod read_only;
mod refused;
mod round_trip;
mod sharing;
mod silence;
mod support;
mod unfinished;
