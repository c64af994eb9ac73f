//! The backend: each call of the contract as a read or a write.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commit::Commit;
use super::connect::{self, Connector};
use super::error::{Fault, NAME};
use super::files::Files;
use super::options::SqliteOptions;
use super::readers::Readers;
use super::record_watch::RecordWatch;
use super::scan::{OneOwner, Progress};
use super::transaction::{READ_BUDGET, Snapshot};
use super::writer::Writer;
use super::{backup, events, keys, log, metadata, owners, pages, requests, scan, usage};
use crate::backend::opening::Intent;
use crate::backend::{
    Applied, Backend, BackendError, BackendErrorKind, BackupProgress, Change, ChangeNotifier,
    CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery, Opened, OwnerPage,
    OwnerPageQuery, Scanned, Sharing, StorageHealth, UsageChange, UsageOutcome, UsageSubject,
    apply, apply_usage,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, RequestId, RequestRecord, StoreMetadata, Usage};
use crate::process::Process;

/// The number of tries to scan an owner in short transactions before it is scanned in one long one.
const SCAN_ATTEMPTS: u32 = 3;

/// The SQLite backend: one file, and beside it `FILE-wal`, `FILE-shm` and `FILE.lock`.
///
/// Every commit is on stable storage before it returns. The file lies on a local disk; all
/// processes that share it run on one host.
///
/// While it is open, the process must not open the file, its `-wal` or its `-shm` in any other
/// way than through SQLite: closing such a descriptor drops the locks that SQLite holds.
///
/// It doesn't cross a fork: a store that has it open refuses every call in a child, and dropping it
/// there leaves the parent's files as they are.
pub struct Sqlite {
    connector: Connector,
    sharing: Sharing,
    process: Process,
    readers: Readers,
    // Seen by the tests in `tests`.
    pub(super) writer: Writer,
    announcer: ChangeNotifier,
}

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
        let connector = Connector::new(files, options);
        let first = connector.noting_room(options.sharing, || {
            if options.sharing == Sharing::Exclusive {
                // A process that left a log behind may have ended just because a sync had failed. If
                // another program has the database open, the log is used as it is: a service has to
                // start.
                connector.renew_log()?;
            }
            connector.first_writer(intent)
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
            Err(fault) => return Err(fault),
        };
        let (readers, announcer) = (Readers::default(), ChangeNotifier::default());
        let (sharing, process) = (options.sharing, Process::current());
        let records =
            readers.with(&connector, |connection| RecordWatch::new(connection, sharing))?;
        announcer.announce(records.last_event());
        let writer = Writer::new(connection, lock, records, &connector.files)?;
        Ok((Self { connector, sharing, process, readers, writer, announcer }, opened))
    }

    /// Opens the database at `path` to look at it, beside every process that has it open, an
    /// exclusive one too. Their commits are visible here within `max_staleness`, 50 ms to 1 hour.
    ///
    /// It reads and verifies; whatever writes is refused with `ReadOnly`. It takes no lock of
    /// `FILE.lock`, and changes neither `FILE` nor `FILE-wal`. If a log was left behind, SQLite makes
    /// its index `FILE-shm`. It opens a connection for each read, and keeps none: a lasting one would
    /// hold up a process that recovers.
    ///
    /// In a directory that can't be written to, it reads a database that was closed, or that another
    /// process has open. It can't read a log that was left behind without its `FILE-shm`.
    ///
    /// # Errors
    /// - `EngineUnfit`, `Foreign`, `ForeignLog`, `Newer`: as [`open`](Self::open);
    /// - `Invalid`: `max_staleness` is outside its limits;
    /// - `Missing`: there is no file, an empty one, or one on which no store was ever created;
    /// - `NetworkFileSystem`: it lies on one (Linux only). Copy it to a local disk;
    /// - `NotADatabase`: it is a directory, or no database;
    /// - `ReadOnly`: there is a log, and no place for its index;
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
        log::judge(&files)?;
        let connector = Connector::read_only(files, options);
        let (readers, announcer) = (Readers::default(), ChangeNotifier::default());
        let (sharing, process) = (options.sharing, Process::current());
        let records = readers.with(&connector, |connection| {
            if !metadata::exists(&*Snapshot::begin(connection)?)? {
                return Err(Fault::refused(BackendErrorKind::Missing, "no store is on it"));
            }
            RecordWatch::new(connection, sharing)
        })?;
        announcer.announce(records.last_event());
        let writer = Writer::read_only(records, &connector.files)?;
        Ok(Self { connector, sharing, process, readers, writer, announcer })
    }

    /// Reads in one short transaction.
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, BackendError> {
        self.readers
            .with(&self.connector, |connection| work(&*Snapshot::begin(connection)?))
            .map_err(|fault| self.failed(operation, fault))
    }

    /// Writes in one transaction, durable when it returns.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let written = self.writer.write(&self.connector, &self.readers, operation, work);
        written.map_err(|error| error.at(self.connector.files.database()))
    }

    fn failed(&self, operation: &'static str, fault: Fault) -> BackendError {
        fault.during(operation).at(self.connector.files.database())
    }

    /// The time that `wait` relies on what this process announces before it looks at the file.
    fn poll_interval(&self) -> Option<Duration> {
        match self.sharing {
            Sharing::Exclusive => None,
            Sharing::Shared { max_staleness } => Some(
                (max_staleness / 32).clamp(Duration::from_millis(5), Duration::from_millis(50)),
            ),
        }
    }
}

impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn is_read_only(&self) -> bool {
        self.connector.is_read_only()
    }

    fn storage(&self) -> StorageHealth {
        let lacks_room = self.connector.lacks_room();
        StorageHealth { lacks_room, ..self.connector.files.storage() }
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        self.read("read metadata", metadata::load)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        const OPERATION: &str = "scan";
        let last = self.read(OPERATION, events::last)?;
        let (mut found, mut after, mut is_more) = (Vec::new(), None, true);
        while is_more {
            is_more = self
                .read(OPERATION, |tx| scan::owners(tx, after.as_ref(), READ_BUDGET, &mut found))?;
            after = found.last().map(|owner| owner.id);
            // Outside of the transaction: what the caller does with them may take its time.
            found.drain(..).for_each(|owner| visit(Scanned::Owner(owner)));
        }
        let (mut found, mut after, mut is_more) = (Vec::new(), None, true);
        while is_more {
            is_more = self.read(OPERATION, |tx| scan::keys(tx, after, READ_BUDGET, &mut found))?;
            after = found.last().map(|key| key.id);
            found.drain(..).for_each(|key| visit(Scanned::Key(key)));
        }
        Ok(last)
    }

    fn expected_keys(&self) -> u64 {
        // The scan will meet the same failure.
        self.read("scan", owners::keys_of_all).unwrap_or_default()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        let mut attempts = 0;
        let mut found = OneOwner::default();
        loop {
            // One owner's keys seldom take longer than the budget. Where they do, and others keep
            // writing, one moment counts for more than a short transaction.
            let budget = if attempts < SCAN_ATTEMPTS { READ_BUDGET } else { Duration::MAX };
            match self.read("scan owner", |tx| found.gather(tx, owner, budget))? {
                Progress::Done => break,
                Progress::More => {}
                Progress::Disturbed => {
                    attempts += 1;
                    found = OneOwner::default();
                }
            }
        }
        found.owner.into_iter().for_each(|owner| visit(Scanned::Owner(owner)));
        found.keys.into_iter().for_each(|key| visit(Scanned::Key(key)));
        Ok(())
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.read("read owner", |tx| owners::load(tx, id))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |tx| keys::load(tx, id))
    }

    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.read("read request", |tx| requests::load(tx, id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |tx| match keys::of_numeric_id(tx, id)? {
            Some(key) => keys::load(tx, key),
            None => Ok(None),
        })
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        const OPERATION: &str = "commit";
        let last = |applied: &Applied| applied.last_event;
        let outcome = self.write(OPERATION, |tx| {
            let mut commit = Commit::new(tx);
            let outcome: CommitOutcome =
                batch.iter().map(|change| apply(&mut commit, change)).collect::<Result<_, _>>()?;
            let first = outcome.iter().flatten().map(|applied| applied.first_event).min();
            if let Some((first, last)) = first.zip(outcome.iter().flatten().map(last).max()) {
                let checked = self.writer.records.check_events(first, last);
                checked.map_err(|fault| fault.during(OPERATION))?;
            }
            Ok(outcome)
        })?;
        if let Some(last) = outcome.iter().flatten().map(last).max() {
            self.announcer.announce(last);
        }
        Ok(outcome)
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.read("list keys", |tx| pages::keys(tx, query))
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        let (mut count, mut below) = (0, None);
        loop {
            below = self.read("count keys", |tx| pages::count(tx, filter, below, &mut count))?;
            if below.is_none() {
                return Ok(count);
            }
        }
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.read("list owners", |tx| pages::owners(tx, query))
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.read("read events", |tx| events::page(tx, query))
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.read("read events", events::last)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        const OPERATION: &str = "prune events";
        self.write(OPERATION, |tx| {
            events::prune(tx, before, limit).map_err(|fault| fault.during(OPERATION))
        })
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        let started = Instant::now();
        loop {
            let last = match self.poll_interval() {
                None => self.announcer.wait(after, timeout),
                Some(interval) => {
                    let left = timeout.saturating_sub(started.elapsed());
                    let announced = self.announcer.wait(after, interval.min(left));
                    if announced > after { announced } else { self.last_event()? }
                }
            };
            self.announcer.announce(last);
            if last > after || started.elapsed() >= timeout {
                let still = self.writer.check_open().map(|()| last);
                return still.map_err(|fault| self.failed("wait", fault));
            }
        }
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.write("take in usage", |tx| apply_usage(&mut Commit::new(tx), batch))
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.read("read usage", |tx| {
            of.iter().map(|of| Ok(usage::load(tx, of)?.unwrap_or_default())).collect()
        })
    }

    fn backup(
        &self,
        to: &Path,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<(), BackendError> {
        let done = backup::back_up(&self.connector, &self.readers, to, progress);
        done.map_err(|fault| fault.during("back up").at(to))
    }

    fn check_files(&self) -> Result<(), BackendError> {
        let (watch, records) = (&self.writer.watch, &self.writer.records);
        let looked = watch.check().map_err(Fault::from);
        looked
            .and_then(|()| self.readers.with(&self.connector, |reader| records.look(reader)))
            .map_err(|fault| self.failed("check files", fault))
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.writer
            .recover(&self.connector, &self.readers, self.sharing)
            .map_err(|fault| self.failed("recover", fault))?;
        // A commit of unknown outcome may have taken effect.
        self.announcer.announce(self.last_event()?);
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        let closed = self.writer.close(&self.readers);
        // Wakes the waiting threads, which then find the backend closed.
        self.announcer.announce(u64::MAX);
        closed.map_err(|fault| self.failed("close", fault))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.process.is_forked() {
            // SQLite would take the parent's files for this process's own.
            self.readers.forget();
            self.writer.forget();
            return;
        }
        // No caller is left to get the error; what was acknowledged is durable.
        let _ = self.close();
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("database", &self.connector.files.database())
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}
