//! The lock file beside a database, and the number in it.
//!
//! An engine takes damage in its log for the log's end, and shows an earlier state. So the number of
//! the last write that was durable is kept in the lock file, from its second byte on, with a checksum.
//! It is written after the write is durable, and never synced: so it may be behind, and is never
//! ahead.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::process::Process;

/// The place of the number in the file, and its length without and with its checksum.
const NUMBER_AT: u64 = 1;
const NUMBER_LEN: usize = 8;
const NOTE_LEN: usize = NUMBER_LEN + 4;

/// A lock on a file, held until it is dropped. The file is made where it is missing, and never
/// removed: it means nothing by existing.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    process: Process,
}

/// The number of holders that a lock may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// One.
    Alone,
    /// All who hold it together.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Together,
}

/// Why a lock file can't be locked.
#[derive(Debug)]
pub(super) enum LockFault {
    /// This process may not open it, for this reason.
    Denied(String),
    /// The operating system failed.
    System(io::Error),
}

impl LockFault {
    fn of_opening(path: &Path, error: io::Error) -> Self {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Self::System(error);
        }
        let path_shown = path.display();
        Self::Denied(match owner(path) {
            // A tool that an administrator ran as root leaves such a file.
            Some(owner) => format!(
                "the lock file {path_shown} belongs to user {owner}, and this process may not open \
                 it: give it to the user that runs this process, with `chown`"
            ),
            None => format!(
                "the lock file {path_shown} can't be made: let this process write to its directory"
            ),
        })
    }
}

/// Returns the number of the user that a file belongs to. `None` without a file, or without such
/// numbers.
fn owner(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|metadata| metadata.uid())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

impl FileLock {
    /// Takes the lock; `None` while another holder of it excludes this one.
    pub(super) fn take(path: &Path, hold: Hold) -> Result<Option<Self>, LockFault> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(|error| LockFault::of_opening(path, error))?;
        let taken = match hold {
            Hold::Alone => file.try_lock(),
            Hold::Together => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => Ok(Some(Self { file, process: Process::current() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(LockFault::System(error)),
        }
    }
}

impl FileLock {
    /// The file that is locked.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Notes that the write of this number is durable, and those before it. Where that fails, less is
    /// known later.
    pub(super) fn note_durable(&self, number: u64) {
        let number = number.to_be_bytes();
        let note = [&number[..], &crc32fast::hash(&number).to_be_bytes()].concat();
        let mut file = &self.file;
        let _ = file.seek(SeekFrom::Start(NUMBER_AT)).and_then(|_| file.write_all(&note));
    }

    /// Notes that nothing is known to be durable beyond what lies in the database's own file.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(super) fn forget_durable(&self) {
        self.note_durable(0);
    }

    /// Returns the number of the last write that is known to be durable; `None` if the file doesn't
    /// say.
    pub(super) fn durable(&self) -> io::Result<Option<u64>> {
        durable(&self.file)
    }
}

/// Reads the number of the last durable write from the lock file of another process, without its
/// lock. `None` also without a file.
///
/// That process may note a later number meanwhile: so read this before the database, to compare.
#[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
pub(super) fn durable_beside(path: &Path) -> Result<Option<u64>, LockFault> {
    /// Windows: another process has locked that part of the file. It compared when it opened.
    const LOCK_VIOLATION: i32 = 33;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LockFault::of_opening(path, error)),
    };
    match durable(&file) {
        Err(error) if cfg!(windows) && error.raw_os_error() == Some(LOCK_VIOLATION) => Ok(None),
        durable => durable.map_err(LockFault::System),
    }
}

fn durable(mut file: &File) -> io::Result<Option<u64>> {
    let mut note = [0; NOTE_LEN];
    file.seek(SeekFrom::Start(NUMBER_AT))?;
    match file.read_exact(&mut note) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (number, checksum) = note.split_at(NUMBER_LEN);
    let is_whole = crc32fast::hash(number).to_be_bytes() == *checksum;
    let number = number.first_chunk().map(|number| u64::from_be_bytes(*number));
    Ok(number.filter(|_| is_whole))
}

impl Drop for FileLock {
    /// Lets go by name. A child that this process is just starting has the open file too, until it
    /// runs its own program: closing ours alone would leave it the lock until then. A child that
    /// goes on in this program only closes its copy: the lock is its parent's.
    fn drop(&mut self) {
        if !self.process.is_forked() {
            // Closing does it otherwise.
            let _ = self.file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_excludes_whom() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |hold| FileLock::take(&path, hold).unwrap();
        let alone = take(Hold::Alone);
        assert!(alone.is_some() && take(Hold::Alone).is_none() && take(Hold::Together).is_none());
        drop(alone);
        let (one, other) = (take(Hold::Together), take(Hold::Together));
        assert!(one.is_some() && other.is_some() && take(Hold::Alone).is_none());
        drop((one, other));
        assert!(path.exists() && take(Hold::Alone).is_some());
    }

    /// The lock that a child has between its making and its first instruction.
    #[test]
    fn another_descriptor_of_the_same_open_file_does_not_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = FileLock::take(&path, Hold::Alone).unwrap().unwrap();
        let inherited = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(FileLock::take(&path, Hold::Alone).unwrap().is_some());
        drop(inherited);
    }

    #[test]
    fn the_last_durable_number_is_found_again_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = || FileLock::take(&path, Hold::Together).unwrap().unwrap();
        let (one, other) = (take(), take());
        assert_eq!(one.durable().unwrap(), None);
        one.note_durable(7);
        other.note_durable(300);
        drop((one, other));
        assert_eq!(take().durable().unwrap(), Some(300));
        let whole = std::fs::read(&path).unwrap();
        for at in 1..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(take().durable().unwrap(), None, "{at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(take().durable().unwrap(), None, "{at}");
        }
    }
}
