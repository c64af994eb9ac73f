//! The index and the group commit under loom: the orders in which their threads may run, and all
//! values that each load may see by the rules of the memory model.
//!
//! `build.rs` copies the library's own sources, with small sizes, and with loom's atomics and locks
//! in place of the standard library's. So ordinary builds know nothing of this. `models.rs` has the
//! readers and writers that run at once, and their promises. It runs over the sources as they are,
//! and over copies with an injected bug, each of which it must find.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // It is a test.

mod stand_ins;
mod sync;

#[allow(
    dead_code,
    missing_debug_implementations,
    private_interfaces,
    unreachable_pub,
    unused_imports,
    unused_mut,
    unused_variables,
    clippy::all
)]
mod copied {
    include!(concat!(env!("OUT_DIR"), "/models.rs"));
}

pub use copied::*;
