//! What lies between SQLite and the files: operations that fail, and a record of what a power cut
//! would leave.
//!
//! [`vfs`] puts itself under every connection of the process, and shows the operations on files in
//! watched directories to a [`AlertSettings`](vfs::AlertSettings). There are two: [`Failing`](failing::Failing)
//! makes the n-th operation fail, [`Medium`](medium::Medium) knows what is on stable storage. The
//! backend isn't told that they are there.
//!
//! `tests/faults` fails each operation of each mutation in turn, `tests/power_loss` cuts the power, and
//! `tests/backend` fails the operations of a backend itself, without files.

pub mod dump;
pub mod expected;
pub mod failing;
pub mod file_record;
pub mod medium;
pub mod mutations;
pub mod uses;
pub mod vfs;
pub mod world;
