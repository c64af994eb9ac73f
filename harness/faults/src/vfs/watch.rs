//! What a watcher is shown, and what it may say to it.

use std::ffi::c_int;
use std::fmt::Debug;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The database.
    Database,
    /// The rollback journal.
    Journal,
    /// The write-ahead log.
    Log,
    /// Anything else; of a file that is looked for or deleted, nothing more is known.
    Other,
}

/// What SQLite asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Whether a file is there.
    Access,
    /// A file is deleted.
    Delete {
        /// Whether the directory is synced then.
        sync_directory: bool,
    },
    /// A lock on the database file.
    Lock,
    /// A file is opened.
    Open {
        /// Whether it is made if it isn't there.
        create: bool,
    },
    /// Bytes are read.
    Read,
    /// A lock of the log's index.
    ShmLock,
    /// A piece of the log's index is mapped.
    ShmMap,
    /// The size of a file.
    Size,
    /// What was written is to be on stable storage.
    Sync,
    /// The file is cut.
    Truncate {
        /// To so many bytes.
        size: u64,
    },
    /// Bytes are written.
    Write {
        /// Where.
        offset: u64,
        /// Which.
        data: &'a [u8],
    },
}

/// One operation on one file.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The file's name in the watched directory.
    pub file: &'a str,
    /// What it is for.
    pub kind: Kind,
    /// What is asked for.
    pub operation: Operation<'a>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It isn't carried out, and fails with this code of SQLite.
    Fail(c_int),
    /// It is carried out.
    Pass,
    /// Of a write so many bytes are written, then it fails with this code. Anything else fails.
    Short(usize, c_int),
    /// It isn't carried out, and is said to have been.
    Skip,
}

/// Whoever watches a directory. It is asked by whatever thread has a connection.
pub trait AlertSettings: Debug + Send + Sync {
    /// Says what becomes of a call.
    fn before(&self, call: &Call<'_>) -> Verdict;

    /// Tells of a call that succeeded or was skipped; of a short write, as one of what was written.
    fn after(&self, call: &Call<'_>);
}
