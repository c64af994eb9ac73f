//! Records in [sled](https://docs.rs/sled/0.34.7), an embedded tree store.
//!
//! sled calls itself beta; read the README before choosing this backend. It is exclusive: one
//! process, one handle. A database is a directory that keyhasp has to itself, with a marker that
//! says so; sled's own files lie in a numbered directory within. Every tree, key and byte is
//! written down in `docs/storage-format.md`.
//!
//! sled writes whole pages to the `log` crate at its `debug` and `trace` levels, digests included:
//! keep its log target at `info` or above.
//!
//! | room | contents |
//! | --- | --- |
//! | `store` | [`Sled`]: each call of the contract |
//! | `options` | [`SledOptions`] |
//! | `life` | opening, writing, recovering and closing a database |
//! | `read`, `events` | the queries of records and of events |
//! | `sums` | the sums of the trees, by which lost entries are noticed |
//! | `overlay`, `transaction` | a batch before it is written, and the rules' view of it |
//! | `counts` | the number of keys of each owner |
//! | `requests` | requests that took effect once |
//! | `leads` | the entries of other trees that lead to a record |
//! | `derived` | what follows from records: how it is checked, and made again |
//! | `record` | records as bytes |
//! | `chunks` | long values in short pieces |
//! | `trees` | the trees, and the keys in them |
//! | `engine` | the one user of the crate |
//! | `watchdog` | the thread that ends a wait in sled which would last for ever |
//! | `layout` | the directory, and the marker that names the files that count |
//! | `dirty_marker` | what shows the next process a commit that was not finished, and the last one that was |
//! | `files`, `fault` | calls of the file system, and what goes wrong |
//! | `decoding` | the decoders for tests, with the feature `testing` |

mod chunks;
mod counts;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod decoding;
mod derived;
mod dirty_marker;
mod engine;
mod events;
mod fault;
mod files;
mod layout;
mod leads;
mod life;
mod options;
mod overlay;
mod read;
mod record;
mod requests;
mod store;
mod sums;
#[cfg(test)]
mod tests;
mod transaction;
mod trees;
mod watchdog;

pub use options::SledOptions;
pub use store::Sled;
