//! The operations that a watcher sees, and its verdicts.

use std::ffi::c_int;
use std::fmt::Debug;

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The database.
    Database,
    /// The rollback journal.
    Journal,
    /// The write-ahead log.
    Log,
    /// Any other file, and any file that is looked for or deleted.
    Other,
}

/// An operation that SQLite asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Looks whether a file is there.
    Access,
    /// Deletes a file.
    Delete,
    /// Locks the database file.
    Lock,
    /// Opens a file.
    Open {
        /// Whether the file is made if it is missing.
        create: bool,
    },
    /// Reads bytes.
    Read,
    /// Locks a part of the log's index.
    ShmLock,
    /// Maps a piece of the log's index.
    ShmMap,
    /// Asks for the size of a file.
    Size,
    /// Syncs a file.
    Sync,
    /// Truncates a file.
    Truncate,
    /// Writes bytes.
    Write {
        /// Their place.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
}

/// An operation on a file.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The file's name in the watched directory.
    pub file: &'a str,
    /// The file's purpose.
    pub kind: Kind,
    /// The operation.
    pub operation: Operation<'a>,
}

/// The fate of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call isn't carried out, and fails with this code of SQLite.
    Fail(c_int),
    /// The call is carried out.
    Pass,
    /// A write writes so many bytes and fails with this code. Any other call fails.
    Short(usize, c_int),
    /// The call isn't carried out, and reports success.
    Skip,
}

/// A watcher of a directory. Every thread with a connection calls it.
pub trait Watcher: Debug + Send + Sync {
    /// Decides the fate of a call.
    fn before(&self, call: &Call<'_>) -> Verdict;
}
