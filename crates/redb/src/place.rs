//! The file of a database: its lock, its creation, and its copy after a sync that failed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use keyhasp::backend::BackendErrorKind;
use redb::{Builder, Database, ReadableDatabase};

use crate::RedbOptions;
use crate::fault::Fault;
use crate::tables::{self, Part, View};

/// The number of the format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;
/// The first bytes of each file of redb.
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// The place of a database, and its lock until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    options: RedbOptions,
    /// Locked as long as it is open. redb's own lock is on the file itself, which a recovery replaces.
    _lock: File,
}

impl Place {
    /// Locks the place of a database.
    pub(crate) fn lock(path: &Path, options: RedbOptions) -> Result<Self, Fault> {
        // Made absolute: the process may go elsewhere later.
        let path = std::path::absolute(path)?;
        let Some((dir, _)) = path.parent().zip(path.file_name()) else {
            return Err(Fault::new(BackendErrorKind::NotADatabase, "the path is not a file's"));
        };
        if !dir.is_dir() {
            let text = "the directory in which the file would lie does not exist";
            return Err(Fault::new(BackendErrorKind::NotADatabase, text));
        }
        let lock = beside(&path, ".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(lock)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, options, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let text = "another process, or another handle in this one, has it open";
                Err(Fault::new(BackendErrorKind::AlreadyOpen, text))
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether there is a file of redb; an empty file is none. Writes nothing.
    pub(crate) fn has_file(&self) -> Result<bool, Fault> {
        let not_a_database = |text| Err(Fault::new(BackendErrorKind::NotADatabase, text));
        let about = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            about => about?,
        };
        if !about.is_file() {
            return not_a_database("a database is one file, and this is something else");
        }
        let mut magic = Vec::new();
        File::open(&self.path)?.take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if !magic.is_empty() && magic != MAGIC {
            return not_a_database("the file is no file of redb");
        }
        if about.permissions().readonly() {
            return Err(Fault::new(BackendErrorKind::ReadOnly, "its permissions forbid writing"));
        }
        Ok(!magic.is_empty())
    }

    /// Makes a database without a store. It gets its place in one step, so that no file there is half a
    /// database.
    pub(crate) fn create(&self) -> Result<(), Fault> {
        let new = self.new_file()?;
        let database = self.builder().create(&new)?;
        let writing = database.begin_write()?;
        for part in Part::ALL {
            writing.table(part)?;
        }
        writing.table(Part::Meta)?.insert(tables::FORMAT, &FORMAT.to_be_bytes()[..])?;
        writing.commit()?;
        database.close()?;
        self.put_in_place(&new)
    }

    /// Opens the file, and tells whether a store was created in it.
    pub(crate) fn open(&self) -> Result<(Database, bool), Fault> {
        self.new_file()?;
        if beside(&self.path, ".unsynced").exists() {
            self.copy()?;
        }
        let database = self.builder().open(&self.path)?;
        let view = database.begin_read()?;
        let is_ours =
            view.list_tables()?.any(|table| redb::TableHandle::name(&table) == Part::Meta.name());
        if !is_ours {
            let text = "the file is a redb database of another application";
            return Err(Fault::new(BackendErrorKind::Foreign, text));
        }
        let format = tables::get(&view, Part::Meta, tables::FORMAT)?;
        match format.and_then(|format| format.try_into().ok()).map(u32::from_be_bytes) {
            Some(FORMAT) => {}
            Some(FORMAT..) => {
                let text = "a newer version of keyhasp-redb wrote it";
                return Err(Fault::new(BackendErrorKind::Newer, text));
            }
            _ => return Err(Fault::new(BackendErrorKind::Corrupt, "it has no format")),
        }
        let has_store = tables::get(&view, Part::Meta, tables::STORE)?.is_some();
        if !has_store && tables::greatest(&view, Part::Events)? > 0 {
            return Err(Fault::new(BackendErrorKind::Corrupt, "the store's own record is missing"));
        }
        drop(view);
        Ok((database, has_store))
    }

    /// Notes that a sync failed: what is read may not be what is on the disk, also for the next
    /// process. After a restart of the system it is.
    pub(crate) fn note_unsynced(&self) {
        // If even this can't be written, no other file can be either.
        let _ = File::create(beside(&self.path, ".unsynced"));
    }

    /// Writes what is read as a new file, and puts that in place. A second sync of the same file would
    /// prove nothing: the system may have marked its pages as clean.
    pub(crate) fn copy(&self) -> Result<(), Fault> {
        let new = self.new_file()?;
        let copied = fs::copy(&self.path, &new).and_then(|_| File::open(&new)?.sync_all());
        copied.inspect_err(|_| drop(fs::remove_file(&new)))?;
        self.put_in_place(&new)?;
        Ok(remove(&beside(&self.path, ".unsynced"))?)
    }

    fn put_in_place(&self, new: &Path) -> Result<(), Fault> {
        fs::rename(new, &self.path)?;
        self.sync_directory().map_err(Fault::from)
    }

    #[cfg(unix)]
    fn sync_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    /// Elsewhere a directory can't be opened as a file, and its entries are as durable as the system
    /// makes them.
    #[cfg(not(unix))]
    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the place of a file that isn't in place yet, where none is.
    fn new_file(&self) -> io::Result<PathBuf> {
        let new = beside(&self.path, ".new");
        remove(&new).map(|()| new)
    }

    fn builder(&self) -> Builder {
        let mut builder = Database::builder();
        builder.set_check_integrity_on_open(self.options.checks_at_open);
        if let Some(bytes) = self.options.cache_bytes {
            builder.set_cache_size(bytes);
        }
        builder
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
