//! What is the sled backend's own: its directory, its bytes, durability and recovery. What it has
//! in common with the others is the conformance suite's.
#![cfg(feature = "sled")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod damage;
mod durable;
mod fixture;
mod model;
mod opening;
mod place;
mod recover;
mod room;
mod round_trip;
