//! Operations that fail under SQLite, and under any backend.
//!
//! [`vfs`] puts itself under every connection of the process, and asks a
//! [`Watcher`](vfs::Watcher) before each operation on files in watched directories.
//! [`Failing`](failing::Failing) is the watcher that lets the n-th operation fail. The library runs as
//! it is.
//!
//! `tests/faults` lets each operation on files fail, `tests/backend` each operation of a backend, without
//! files. Losses of power are a matter of `harness/crash`, for SQLite and for sled.

pub mod dump;
pub mod expected;
pub mod failing;
pub mod injected;
pub mod mutations;
pub mod tally;
pub mod uses;
pub mod vfs;
pub mod world;
