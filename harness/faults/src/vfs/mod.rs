//! A VFS of SQLite that asks a watcher before each operation.
//!
//! | file | contents |
//! | --- | --- |
//! | `watch` | [`Watcher`], the operations that it sees, and its verdicts |
//! | `registry` | the watched directories |
//! | `system` | opening, deleting and looking for files |
//! | `file` | operations on an open file |
//!
//! C calls `system` and `file`, which hold the only unsafe code of this package.

mod file;
mod registry;
mod system;
mod watch;

pub use registry::{Watched, watch};
pub use watch::{Call, Kind, Operation, Verdict, Watcher};
