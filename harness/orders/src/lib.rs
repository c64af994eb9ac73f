//! The index and the joined commits under loom: every order in which their threads may run, and
//! all that each load may see by the rules of the memory model.
//!
//! `build.rs` takes the library's own sources as they are, but for small sizes and for loom's
//! atomics and locks in place of the standard library's; so ordinary builds know nothing of this.
//! `models.rs` says what readers and writers do at once, and what must hold. It is run over the
//! sources as they are, and over copies with a defect, each of which it must find.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // It is a test.

mod stand_ins;
mod sync;

#[allow(
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    unused_imports,
    unused_mut,
    unused_variables,
    clippy::all
)]
mod taken {
    include!(concat!(env!("OUT_DIR"), "/models.rs"));
}

pub use taken::*;
