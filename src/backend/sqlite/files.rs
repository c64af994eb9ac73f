//! The database file and those beside it.
//!
//! While a connection is open, nothing here opens the database, its `-wal` or its `-shm`: closing
//! such a descriptor would drop the locks that SQLite holds on the file (a property of POSIX
//! locks). Before that, only their metadata are asked for.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::Fault;
use crate::backend::file_lock::{FileLock, Hold};
use crate::backend::file_system::{self, Network};
use crate::backend::{BackendErrorKind, Sharing, StorageHealth, open_file, storage};

/// The smallest page that SQLite knows.
pub(super) const SMALLEST: u64 = 512;

/// The size of the shortest index of a log.
const SMALLEST_INDEX: u64 = 32 << 10;

/// The first bytes of a rollback journal that counts.
const JOURNAL_MARK: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Its metadata, up to the number of pages that there were.
const JOURNAL_HEADER: usize = 20;

/// The files of a database.
#[derive(Debug)]
pub(super) struct Files {
    database: PathBuf,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoneFile {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    place: (u64, u64),
}

impl LoneFile {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            place: (metadata.dev(), metadata.ino()),
        }
    }
}

impl Files {
    /// Finds the one path that all links to the file share, so that all openers meet at one lock;
    /// refuses what can't be a database. Touches nothing.
    pub(super) fn find(path: &Path) -> Result<Self, Fault> {
        let database = settle(path)?;
        if let Some(metadata) = metadata(&database)? {
            if !metadata.is_file() {
                return Err(not_a_database("there is something else than a file"));
            }
            // SQLite itself takes a file of one byte for an empty one.
            if (1..SMALLEST).contains(&metadata.len()) {
                return Err(not_a_database("the file is too short for one"));
            }
        }
        Ok(Self { database })
    }

    /// Refuses a network file system.
    pub(super) fn expect_local(&self, network: Network) -> Result<(), Fault> {
        // The file may be mounted by itself.
        for place in [Some(&*self.database), self.database.parent()].into_iter().flatten() {
            file_system::check(place, network)
                .map_err(|why| Fault::refused(BackendErrorKind::NetworkFileSystem, why))?;
        }
        Ok(())
    }

    /// Refuses what is marked as read-only.
    pub(super) fn expect_writable(&self) -> Result<(), Fault> {
        if metadata(&self.database)?.is_some_and(|metadata| metadata.permissions().readonly()) {
            return Err(read_only("the file is marked as read-only"));
        }
        let directory = self.database.parent().map(fs::metadata).transpose()?;
        // On Windows a directory's mark says nothing about the files in it.
        if cfg!(unix) && directory.is_some_and(|directory| directory.permissions().readonly()) {
            return Err(read_only("the directory is marked as read-only"));
        }
        Ok(())
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Whether there is nothing yet: no file, or an empty one.
    pub(super) fn is_fresh(&self) -> Result<bool, Fault> {
        Ok(metadata(&self.database)?.is_none_or(|metadata| metadata.len() == 0))
    }

    /// Whether a process ended while making it: the rollback journal says that there was no page
    /// before, so that none will be left, whatever lies in the file.
    pub(super) fn is_unfinished(&self) -> Result<bool, Fault> {
        let mut metadata = [0; JOURNAL_HEADER];
        match File::open(self.beside("-journal"))
            .and_then(|mut file| file.read_exact(&mut metadata))
        {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        // Behind the mark: how many pages it holds, a number by chance, how many there were.
        Ok(metadata.starts_with(&JOURNAL_MARK) && metadata.ends_with(&[0; 4]))
    }

    /// Whether what is no database now was one: a store locked it, or it begins with zeros.
    pub(super) fn was_database(&self) -> Result<bool, Fault> {
        if length(&self.beside(".lock"))?.is_some() {
            return Ok(true);
        }
        // No connection of this process is open: each that stays open has the lock file.
        let mut start = Vec::new();
        File::open(&self.database)?.take(16).read_to_end(&mut start)?;
        Ok(start == [0; 16])
    }

    /// Locks `FILE.lock`.
    pub(super) fn lock(&self, sharing: Sharing) -> Result<FileLock, Fault> {
        let (hold, why) = match sharing {
            Sharing::Exclusive => (
                Hold::Alone,
                "to use it from more than one place, open it everywhere with SqliteOptions::shared",
            ),
            Sharing::Shared { .. } => (
                Hold::Together,
                "who has it open has it exclusively; SqliteOptions::shared is needed there too",
            ),
        };
        let lock = FileLock::take(&self.beside(".lock"), hold)?;
        lock.ok_or_else(|| Fault::refused(BackendErrorKind::AlreadyOpen, why))
    }

    /// Whether there is a write-ahead log with something in it.
    pub(super) fn has_log(&self) -> Result<bool, Fault> {
        Ok(self.log_length()? > 0)
    }

    /// Describes the file if all of the database lies in it, with nothing beside it that changes what
    /// it says: no log, and no journal. `None` if something else counts, or if there is no file.
    pub(super) fn lone(&self) -> Result<Option<LoneFile>, Fault> {
        let Some(metadata) = metadata(&self.database)? else { return Ok(None) };
        let is_alone = !self.has_log()? && length(&self.beside("-journal"))?.is_none();
        Ok(is_alone.then(|| LoneFile::of(&metadata)))
    }

    /// Returns whether a process has the log's index, so that it may have the database open.
    pub(super) fn has_index(&self) -> Result<bool, Fault> {
        Ok(length(&self.beside("-shm"))?.is_some())
    }

    /// Measures the write-ahead log; 0 if there is none.
    pub(super) fn log_length(&self) -> Result<u64, Fault> {
        Ok(length(&self.beside("-wal"))?.unwrap_or(0))
    }

    /// Measures the files and the room that is left. Opens none of them.
    pub(super) fn storage(&self) -> StorageHealth {
        StorageHealth {
            file_bytes: length(&self.database).ok().flatten(),
            log_bytes: length(&self.beside("-wal")).ok().flatten(),
            free_bytes: self.database.parent().and_then(storage::free_bytes),
            lacks_room: false,
        }
    }

    /// Refuses where there is surely no room for a copy of the log, and for the log's index.
    pub(super) fn expect_room(&self) -> Result<(), Fault> {
        let StorageHealth { log_bytes, free_bytes, .. } = self.storage();
        if free_bytes.is_some_and(|free| free < log_bytes.unwrap_or(0) + SMALLEST_INDEX) {
            return Err(Fault::refused(BackendErrorKind::Full, "make room, and try again"));
        }
        Ok(())
    }

    /// Replaces the write-ahead log by a synced copy of what can be read of it. Only while no
    /// connection of any process is open.
    pub(super) fn renew_log(&self) -> Result<(), Fault> {
        let (log, copy) = (self.beside("-wal"), self.beside("-wal.renewed"));
        let copied = fs::copy(&log, &copy)
            .and_then(|_| File::options().write(true).open(&copy)?.sync_all())
            .and_then(|()| fs::rename(&copy, &log));
        if let Err(error) = copied {
            // Without room, what was copied would take the rest of it. The log itself is whole.
            let _ = fs::remove_file(&copy);
            return Err(error.into());
        }
        // Elsewhere a directory can't be synced, and need not be.
        if cfg!(unix)
            && let Some(directory) = self.database.parent()
        {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.database);
        path.push(suffix);
        path.into()
    }
}

/// The path without links; of a file that doesn't exist yet, that of its directory and its name.
fn settle(path: &Path) -> Result<PathBuf, Fault> {
    // Absolute, so that neither `:memory:` nor a later change of directory means another place.
    let path = std::path::absolute(path).map_err(|_| not_a_database("the path is empty"))?;
    if cfg!(windows) {
        return Ok(path);
    }
    match fs::canonicalize(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        settled => return Ok(settled?),
    }
    // Otherwise another creator may have made the file since.
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
        return Err(not_a_database("the link leads nowhere"));
    }
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => match fs::canonicalize(directory) {
            Ok(directory) => Ok(directory.join(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(not_a_database("there is no such directory"))
            }
            Err(error) => Err(error.into()),
        },
        _ => Err(not_a_database("the path names no file")),
    }
}

/// Measures a file; `None` if there is none.
fn length(path: &Path) -> Result<Option<u64>, Fault> {
    Ok(open_file::status(path)?.map(|status| status.length))
}

fn metadata(path: &Path) -> Result<Option<fs::Metadata>, Fault> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn not_a_database(why: &'static str) -> Fault {
    Fault::refused(BackendErrorKind::NotADatabase, why)
}

fn read_only(why: &'static str) -> Fault {
    Fault::refused(BackendErrorKind::ReadOnly, why)
}
