//! The identity of files that are open, by which a missing or replaced one is noticed.
//!
//! Files are looked at by path, and never opened: closing such a descriptor would drop the locks
//! that SQLite holds on the file, a property of POSIX locks.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The lock file.
    Lock,
    /// The database's file.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Database,
    /// The database's directory.
    #[cfg_attr(not(feature = "sled"), allow(dead_code))]
    Directory,
    /// The data file in the database's directory.
    #[cfg_attr(not(feature = "sled"), allow(dead_code))]
    Data,
    /// The index of the write-ahead log.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    LogIndex,
    /// The write-ahead log.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Log,
}

/// The difference between a file that was opened and the one that its path leads to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// No file is there.
    Missing,
    /// Another file is there.
    Replaced,
    /// The file is shorter than a database can be.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Truncated,
}

/// A file that is not the one that was opened.
#[derive(Debug)]
pub(super) struct Strange {
    pub(super) role: Role,
    pub(super) difference: Difference,
    path: PathBuf,
}

/// Identity and length of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Device and inode. `None` where the system has no such numbers.
    identity: Option<(u64, u64)>,
    pub(super) length: u64,
}

/// A file as it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) role: Role,
    path: PathBuf,
    identity: (u64, u64),
}

impl OpenFile {
    /// Notes the file of a descriptor, which this path led to. `None` where the system has no
    /// numbers for files.
    pub(super) fn of(role: Role, path: &Path, file: &File) -> io::Result<Option<Self>> {
        Ok(Self::noted(role, path, status_of(&file.metadata()?)))
    }

    /// Notes the file that this path leads to. `None` if there is none.
    pub(super) fn at(role: Role, path: &Path) -> io::Result<Option<Self>> {
        Ok(status(path)?.and_then(|status| Self::noted(role, path, status)))
    }

    fn noted(role: Role, path: &Path, status: Status) -> Option<Self> {
        status.identity.map(|identity| Self { role, path: path.to_owned(), identity })
    }

    /// Checks that the path leads to the file still. Returns its length, `None` if the system can't
    /// tell: a failed look proves nothing.
    pub(super) fn check(&self) -> Result<Option<u64>, Strange> {
        match status(&self.path) {
            Ok(Some(found)) if found.identity == Some(self.identity) => Ok(Some(found.length)),
            Ok(Some(_)) => Err(self.strange(Difference::Replaced)),
            Ok(None) => Err(self.strange(Difference::Missing)),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn strange(&self, difference: Difference) -> Strange {
        Strange { role: self.role, difference, path: self.path.clone() }
    }
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.role {
            Role::Lock => "the lock file",
            Role::Database => "the database file",
            Role::Directory => "the directory",
            Role::Data => "the data file",
            Role::LogIndex => "the index of the write-ahead log",
            Role::Log => "the write-ahead log",
        };
        let difference = match self.difference {
            Difference::Missing => "is missing",
            Difference::Replaced => "was replaced by another",
            Difference::Truncated => "was cut off",
        };
        write!(
            f,
            "{file} {} {difference}; this process writes nothing more: stop all processes that use \
             the database, put the files that belong together in their places, and open it again",
            self.path.display()
        )
    }
}

/// Looks at the file that a path leads to; `None` if there is none.
///
/// Neither times nor anything else is asked for. A request for a file's times makes Linux (6.13 and
/// later) note the next change of the file to the nanosecond. That costs the next sync a write of
/// its own: a sixth of a commit, where every commit asks.
#[cfg(target_os = "linux")]
pub(super) fn status(path: &Path) -> io::Result<Option<Status>> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    use rustix::io::Errno;
    match statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE) {
        Ok(status) => {
            let device = u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor);
            let is_known = status.stx_mask & StatxFlags::INO.bits() != 0;
            let identity = is_known.then_some((device, status.stx_ino));
            Ok(Some(Status { identity, length: status.stx_size }))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        // The system has no such call.
        Err(Errno::NOSYS | Errno::PERM) => plain_status(path),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn status(path: &Path) -> io::Result<Option<Status>> {
    plain_status(path)
}

fn plain_status(path: &Path) -> io::Result<Option<Status>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(status_of(&metadata))),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn status_of(metadata: &fs::Metadata) -> Status {
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt;
        Some((device(metadata.dev()), metadata.ino()))
    };
    #[cfg(not(unix))]
    let identity = None;
    Status { identity, length: metadata.len() }
}

/// Writes a device number as `statx` does, in two halves.
#[cfg(target_os = "linux")]
fn device(number: u64) -> u64 {
    u64::from(rustix::fs::major(number)) << 32 | u64::from(rustix::fs::minor(number))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn device(number: u64) -> u64 {
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_one_that_was_opened_until_its_path_leads_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "12345").unwrap();
        let file = File::open(at("a")).unwrap();
        let by_descriptor = OpenFile::of(Role::Lock, &at("a"), &file).unwrap().unwrap();
        let by_path = OpenFile::at(Role::Lock, &at("a")).unwrap().unwrap();
        assert_eq!(by_descriptor.identity, by_path.identity);
        assert_eq!(plain_status(&at("a")).unwrap(), status(&at("a")).unwrap());
        assert_eq!(by_path.check().unwrap(), Some(5));

        let difference = |file: &OpenFile| file.check().unwrap_err().difference;
        fs::rename(at("a"), at("b")).unwrap();
        assert_eq!(difference(&by_path), Difference::Missing);
        assert_eq!(plain_status(&at("a")).unwrap(), None);
        fs::write(at("a"), "12345").unwrap();
        assert_eq!(difference(&by_path), Difference::Replaced);
        let text = by_path.check().unwrap_err().to_string();
        assert!(text.contains("the lock file") && text.contains("replaced"), "{text}");
        fs::rename(at("b"), at("a")).unwrap();
        assert!(by_path.check().is_ok());
        assert!(OpenFile::at(Role::Lock, &at("none")).unwrap().is_none());
    }

    /// A look that fails proves nothing.
    #[cfg(unix)]
    #[test]
    fn a_failed_look_is_no_difference() {
        let file = OpenFile { role: Role::Log, path: "a".repeat(5_000).into(), identity: (1, 1) };
        assert!(status(&file.path).is_err());
        assert_eq!(file.check().unwrap(), None);
    }
}
