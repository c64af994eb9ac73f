//! The files of a database, as their place shows them.

use serde::Serialize;

/// The files of a database, and the room that is left for them. A value that the backend can't tell
/// is `None`: all of them where nothing is stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StorageHealth {
    /// Size of the database in bytes, without its log.
    pub file_bytes: Option<u64>,
    /// Size of the write-ahead log in bytes.
    pub log_bytes: Option<u64>,
    /// Bytes that this process may still write to the file system. `None` except on Linux.
    pub free_bytes: Option<u64>,
    /// Whether the database could be opened for reading alone, since there was no room for what
    /// writing needs. Commits are refused as `Full`, until one finds room.
    pub lacks_room: bool,
}

/// The progress of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Bytes that are copied.
    pub copied_bytes: u64,
    /// Bytes that the backup will have.
    pub total_bytes: u64,
}

/// Returns how many bytes a process without privileges may still write to the file system of this
/// path.
#[cfg(all(target_os = "linux", any(feature = "sled", feature = "sqlite")))]
pub(super) fn free_bytes(path: &std::path::Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(all(not(target_os = "linux"), any(feature = "sled", feature = "sqlite")))]
pub(super) fn free_bytes(_path: &std::path::Path) -> Option<u64> {
    None
}
