//! A VFS of SQLite that shows what it is asked to a watcher, and passes on what the watcher lets
//! pass.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `watch` | [`AlertSettings`], and what it is shown |
//! | `registry` | which directories are watched |
//! | `system` | opening, deleting and looking for files; the only way in |
//! | `file` | what is done to an open file |
//!
//! `system` and `file` are what C calls, and the only unsafe code of this package.

mod file;
mod registry;
mod system;
mod watch;

pub use registry::{Watched, watch};
pub use watch::{AlertSettings, Call, Kind, Operation, Verdict};
