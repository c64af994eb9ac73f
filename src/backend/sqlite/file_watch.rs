//! The files of an open database, and whether they are still the ones that were opened.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Fault;
use super::files::{Files, SMALLEST};
use crate::backend::file_lock::FileLock;
use crate::backend::open_file::{Difference, OpenFile, Role, Strange};

/// The files of an open database, as they were opened.
#[derive(Debug)]
pub(super) struct FileWatch {
    lock: Option<OpenFile>,
    database: Option<OpenFile>,
    /// The log's index and the log. Empty while no connection is sure to hold them: recovery closes
    /// all connections, and the last to be closed removes both files.
    ///
    /// Locked during a look. Otherwise a thread could find a file missing that recovery has just
    /// closed, and take it for removed.
    log: Mutex<Vec<OpenFile>>,
}

impl FileWatch {
    /// Notes the lock file, if this process holds it, and the database; not yet the log.
    pub(super) fn new(files: &Files, lock: Option<&FileLock>) -> Result<Self, Fault> {
        let lock = match lock {
            Some(lock) => OpenFile::of(Role::Lock, &files.beside(".lock"), lock.file())?,
            None => None,
        };
        let database = OpenFile::at(Role::Database, files.database())?;
        Ok(Self { lock, database, log: Mutex::default() })
    }

    /// Checks that each file is the one that was opened.
    pub(super) fn check(&self) -> Result<(), Strange> {
        self.lock.as_ref().map_or(Ok(None), OpenFile::check)?;
        self.check_content(|_| true)
    }

    /// Checks the files that hold what was committed. Each look is a system call.
    pub(super) fn check_committed(&self) -> Result<(), Strange> {
        self.check_content(|role| role == Role::Log)
    }

    fn check_content(&self, of_log: impl Fn(Role) -> bool) -> Result<(), Strange> {
        if let Some(database) = &self.database
            && database.check()?.is_some_and(|length| length < SMALLEST)
        {
            return Err(database.strange(Difference::Truncated));
        }
        // The log last: if it is missing, all others are known to be right.
        let log = self.log();
        log.iter().filter(|file| of_log(file.role)).try_for_each(|file| file.check().map(drop))
    }

    /// Stops watching the log, before the last connection may be closed.
    pub(super) fn suspend(&self) {
        self.log().clear();
    }

    /// Watches the log that the connection has which was just made.
    pub(super) fn resume(&self, files: &Files) -> Result<(), Fault> {
        let mut log = self.log();
        log.clear();
        log.extend(OpenFile::at(Role::LogIndex, &files.beside("-shm"))?);
        log.extend(OpenFile::at(Role::Log, &files.beside("-wal"))?);
        Ok(())
    }

    fn log(&self) -> MutexGuard<'_, Vec<OpenFile>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
