//! Creating a database, and opening one.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;

use super::check;
use super::connect::{self, Connector};
use super::database::Sqlite;
use super::error::{Fault, NAME};
use super::files::Files;
use super::options::SqliteOptions;
use super::readers::Readers;
use super::record_watch::RecordWatch;
use super::transaction::Snapshot;
use super::writer::Writer;
use super::{log, metadata};
use crate::backend::file_lock;
use crate::backend::opening::Intent;
use crate::backend::{BackendError, BackendErrorKind, ChangeNotifier, Opened, Sharing};
use crate::process::Process;

impl Sqlite {
    /// Creates a database at `path`, where there is no file, an empty one, or one on which no store
    /// was ever created. The directory must exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `AlreadyExists` instead of `Missing` where a database is.
    pub fn create(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, BackendError> {
        Self::begin(path.as_ref(), &options, Intent::Create).map(|(sqlite, _)| sqlite)
    }

    /// Opens the database at `path`.
    ///
    /// # Errors
    /// Nothing is written to a file that is refused:
    /// - `Missing`: there is no file, an empty one, or one on which no store was ever created;
    /// - `OrphanedLog`: there is none or an empty one, beside a write-ahead log that isn't empty;
    /// - `AlreadyOpen`: it is open in a way that doesn't go with this one;
    /// - `Corrupt`: a page is damaged that the store can't do without;
    /// - `EarlierState`: it shows fewer events than were durable, since its log is damaged;
    /// - `EngineUnfit`: the SQLite that is linked is older than 3.51.3;
    /// - `Foreign`: it is a database of another application;
    /// - `ForeignLog`: the write-ahead log beside it belongs to another file, or to this one of
    ///   another time;
    /// - `Newer`: it was written by a newer version;
    /// - `NetworkFileSystem`: it lies on one, which the options don't allow (Linux only);
    /// - `NotADatabase`: it is a directory, no database, or its directory doesn't exist;
    /// - `ReadOnly`: the file or its directory can't be written to;
    /// - others, when the engine or the operating system fails.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, BackendError> {
        Self::begin(path.as_ref(), &options, Intent::Open).map(|(sqlite, _)| sqlite)
    }

    /// Opens the database at `path`, or creates one there, and says which. A service whose volume
    /// isn't mounted begins with an empty database then: where that must not happen, create once
    /// and then [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), except `Missing`.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        options: SqliteOptions,
    ) -> Result<(Self, Opened), BackendError> {
        Self::begin(path.as_ref(), &options, Intent::OpenOrCreate)
    }

    fn begin(
        path: &Path,
        options: &SqliteOptions,
        intent: Intent,
    ) -> Result<(Self, Opened), BackendError> {
        let begun = Self::try_begin(path, options, intent);
        begun.map_err(|fault| fault.during(intent.operation()).at(path))
    }

    fn try_begin(
        path: &Path,
        options: &SqliteOptions,
        intent: Intent,
    ) -> Result<(Self, Opened), Fault> {
        connect::check_engine(rusqlite::version_number())?;
        let files = Files::find(path)?;
        files.expect_local(options.network)?;
        files.expect_writable()?;
        connect::peek(&files, intent)?;
        let lock = files.lock(options.sharing)?;
        log::judge(&files)?;
        // Without a log all that was durable is in the file.
        let durable = if files.has_log()? {
            lock.durable()?
        } else {
            // A file that was put back beside the lock file of a later time: once it has a log again,
            // a process that opens it to look would compare.
            lock.forget_durable();
            None
        };
        let connector = Connector::new(files, options);
        let first = connector.noting_room(options.sharing, || {
            if options.sharing == Sharing::Exclusive {
                // A process that left a log behind may have ended just because a sync had failed. If
                // another program has the database open, the log is used as it is: a service has to
                // start.
                connector.renew_log()?;
            }
            connector.first_writer(intent, durable)
        });
        let (connection, opened) = match first {
            Ok((connection, opened)) => (Some(connection), opened),
            // A service has to start without room too. It reads then.
            Err(_)
                if connector.lacks_room()
                    && intent != Intent::Create
                    && !connector.files.is_fresh()? =>
            {
                (None, Opened::Existing)
            }
            Err(fault) => return Err(check::explained(fault, &connector)),
        };
        let (readers, announcer) = (Readers::default(), ChangeNotifier::default());
        let (sharing, process) = (options.sharing, Process::current());
        let records = readers.with(&connector, |reader| RecordWatch::new(reader, sharing));
        let records = records.map_err(|fault| check::explained(fault, &connector))?;
        let found = records.last_event();
        if let Some(durable) = durable.filter(|durable| found < *durable) {
            if let Some(connection) = &connection {
                // Closing would remove the log, of which something may be rescued.
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            }
            return Err(Fault::Earlier { found, durable });
        }
        lock.note_durable(found);
        announcer.announce(found);
        let writer = Writer::new(connection, lock, records, &connector.files)?;
        Ok((Self { connector, sharing, process, readers, writer, announcer }, opened))
    }

    /// Opens the database at `path` to look at it, beside every process that has it open, an
    /// exclusive one too. Their commits are visible here within `max_staleness`, 50 ms to 1 hour.
    ///
    /// It reads and verifies; whatever writes is refused with `ReadOnly`. It reads `FILE.lock` but
    /// takes no lock of it, and changes neither `FILE` nor `FILE-wal`. If a log was left behind, SQLite makes
    /// its index `FILE-shm`. It opens a connection for each read, and keeps none: a lasting one would
    /// hold up a process that recovers.
    ///
    /// In a directory that can't be written to, it reads a database that was closed, or that another
    /// process has open. It can't read a log that was left behind without its `FILE-shm`.
    ///
    /// # Errors
    /// - `Corrupt`, `EarlierState`, `EngineUnfit`, `Foreign`, `ForeignLog`, `Newer`: as
    ///   [`open`](Self::open);
    /// - `Invalid`: `max_staleness` is outside its limits;
    /// - `Missing`: there is no file, an empty one, or one on which no store was ever created;
    /// - `NetworkFileSystem`: it lies on one (Linux only). Copy it to a local disk;
    /// - `NotADatabase`: it is a directory, or no database;
    /// - `ReadOnly`: there is a log, and no place for its index; or the format is an older one, which
    ///   only an open that can write takes along;
    /// - others, when the engine or the operating system fails.
    pub fn open_read_only(
        path: impl AsRef<Path>,
        max_staleness: Duration,
    ) -> Result<Self, BackendError> {
        const OPERATION: &str = "open read-only";
        let path = path.as_ref();
        let options = SqliteOptions::shared(max_staleness).map_err(|invalid| {
            BackendError::new(BackendErrorKind::Invalid, NAME, OPERATION).with_source(invalid)
        })?;
        Self::try_open_read_only(path, &options).map_err(|fault| fault.during(OPERATION).at(path))
    }

    fn try_open_read_only(path: &Path, options: &SqliteOptions) -> Result<Self, Fault> {
        connect::check_engine(rusqlite::version_number())?;
        let files = Files::find(path)?;
        files.expect_local(options.network)?;
        if files.is_fresh()? || files.is_unfinished()? {
            let why = "there is no file, an empty or an unfinished one";
            return Err(Fault::refused(BackendErrorKind::Missing, why));
        }
        connect::expect_ours(&files)?;
        log::judge(&files)?;
        // Before the records: a process that commits meanwhile notes a number once its commit can
        // be read.
        let durable = if files.has_log()? {
            file_lock::durable_beside(&files.beside(".lock"))?
        } else {
            None
        };
        let connector = Connector::read_only(files, options);
        let (readers, announcer) = (Readers::default(), ChangeNotifier::default());
        let (sharing, process) = (options.sharing, Process::current());
        let records = readers.with(&connector, |reader| {
            if !metadata::exists(&*Snapshot::begin(reader)?)? {
                return Err(Fault::refused(BackendErrorKind::Missing, "no store is on it"));
            }
            RecordWatch::new(reader, sharing)
        });
        let records =
            records.map_err(|fault| check::explained(fault, &connector).or_earlier(durable))?;
        let found = records.last_event();
        if let Some(durable) = durable.filter(|durable| found < *durable) {
            return Err(Fault::Earlier { found, durable });
        }
        announcer.announce(found);
        let writer = Writer::read_only(records, &connector.files)?;
        Ok(Self { connector, sharing, process, readers, writer, announcer })
    }
}
