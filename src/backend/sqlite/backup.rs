//! A copy of the database of one moment, made while others read and write.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::connect::Connector;
use super::error::Fault;
use super::files::Files;
use super::options::SqliteOptions;
use super::readers::Readers;
use super::transaction::Snapshot;
use crate::backend::{BackendErrorKind, BackupProgress};

/// The number of pages that are copied at once: 1 MiB.
const PAGES_AT_ONCE: i32 = 256;
/// The pause between two steps, in which commits have the disk. Nothing happens at its end that could
/// wake the thread, and closing waits for it at most so long.
const PAUSE: Duration = Duration::from_millis(2);
/// The length of a page.
const PAGE_BYTES: u64 = 4096;

/// Copies the database into a new file, durable and checked when this returns. A file that isn't
/// whole is removed.
pub(super) fn back_up(
    connector: &Connector,
    readers: &Readers,
    to: &Path,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<(), Fault> {
    let copy = Copy::begin(to)?;
    readers.with(connector, |source| {
        // One state of the database, however many commits come meanwhile. Without the transaction
        // the copying would begin again after each of them.
        let snapshot = Snapshot::begin(source)?;
        copy_pages(&snapshot, to, progress, &|| readers.check_open())
    })?;
    File::open(to)?.sync_all()?;
    if cfg!(unix)
        && let Some(directory) = copy.files.database().parent()
    {
        File::open(directory)?.sync_all()?;
    }
    copy.check()?;
    copy.keep();
    Ok(())
}

fn copy_pages(
    source: &Connection,
    to: &Path,
    progress: &mut dyn FnMut(BackupProgress),
    check_open: &dyn Fn() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    // What is cut short is removed, so nothing has to be undone.
    target.pragma_update(None, "journal_mode", "OFF")?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        let step = backup.step(PAGES_AT_ONCE)?;
        let pages = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * PAGE_BYTES;
        let total_bytes = bytes(pages.pagecount);
        let copied_bytes = total_bytes.saturating_sub(bytes(pages.remaining));
        progress(BackupProgress { copied_bytes, total_bytes });
        if step == StepResult::Done {
            return Ok(());
        }
        // A store that recovers or closes doesn't wait for a backup.
        check_open()?;
        thread::sleep(PAUSE);
    }
}

/// The new file, which is removed unless it is kept.
struct Copy {
    files: Files,
    is_kept: bool,
}

impl Copy {
    fn begin(to: &Path) -> Result<Self, Fault> {
        let exists = || {
            let why = "a backup goes into a new file; name another, or remove that one with its -wal, \
                       -shm and -journal";
            Fault::refused(BackendErrorKind::AlreadyExists, why)
        };
        if fs::symlink_metadata(to).is_ok() {
            return Err(exists());
        }
        let files = Files::find(to)?;
        for suffix in ["-wal", "-shm", "-journal"] {
            // SQLite would take it for the new file's own.
            if fs::symlink_metadata(files.beside(suffix)).is_ok() {
                return Err(exists());
            }
        }
        let mut options = File::options();
        options.write(true).create_new(true);
        // It holds digests.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(files.database()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(Self { files, is_kept: false }),
        }
    }

    /// Reads the whole copy.
    fn check(&self) -> Result<(), Fault> {
        let files = Files::find(self.files.database())?;
        let reader = Connector::read_only(files, &SqliteOptions::exclusive()).reader()?;
        let found: String =
            reader.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found == "ok" {
            return Ok(());
        }
        Err(Fault::refused(BackendErrorKind::Corrupt, "a page of the copy is damaged"))
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error that ended the backup counts.
            let _ = fs::remove_file(self.files.database());
        }
    }
}
