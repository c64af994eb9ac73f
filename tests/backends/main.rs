//! The backends: the conformance suite on each of them, faulty backends that it has to find, and
//! what is an engine's own.

#[path = "../common/mod.rs"]
mod common;

#[cfg(all(feature = "sqlite", unix))]
mod another_user;
#[cfg(feature = "testing")]
mod broken;
mod conformance;
mod conformance_bites;
mod conformance_sled;
mod conformance_sqlite;
#[cfg(all(feature = "testing", feature = "sqlite"))]
mod kills;
mod lock_file;
mod old_files;
mod record_bytes;
mod sled;
mod sqlite;
