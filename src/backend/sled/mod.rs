//! Records in [sled](https://docs.rs/sled/0.34.7), an embedded tree store.
//!
//! sled calls itself beta; read the README before choosing this backend. It is exclusive: one
//! process, one handle. A database is a directory that keyhasp has to itself, with a marker that
//! says so; sled's own files lie in a numbered directory within. Every tree, key and byte is
//! written down in `docs/storage-format.md`.
//!
//! From the bottom up: `fault` is what goes wrong in here, `place` the directory, `dirty_marker` a note
//! for who comes after a crash, `engine` the one user of the crate, `layout`, `parts` and `record`
//! the bytes, `overlay` a batch before it is written, `read` the queries, `life` opening,
//! recovering and closing, `store` the backend itself.
//!
//! sled writes whole pages to the `log` crate at its `debug` and `trace` levels, digests included:
//! keep its log target at `info` or above.

mod chunks;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod decoding;
mod dirty_marker;
mod engine;
mod fault;
mod files;
mod layout;
mod life;
mod options;
mod overlay;
mod place;
mod read;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod watchdog;

pub use options::SledOptions;
pub use store::Sled;
