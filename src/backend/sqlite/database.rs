//! The backend: each call of the contract as a read or a write.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commit::{Commit, in_parts, of_page};
use super::connect::{Connector, Patience};
use super::error::{Fault, NAME, PAGE, is_of_damage};
use super::readers::Readers;
use super::scan::{Part, Scan};
use super::scan_owner::{OneOwner, Progress};
use super::transaction::{READ_BUDGET, Snapshot};
use super::writer::Writer;
use super::{
    backup, check, events, free_pages, keys, metadata, owners, pages, quarantine, repair, requests,
    scan, usage,
};
use crate::backend::check::by_reading as check_reads;
use crate::backend::{
    Applied, Backend, BackendError, BackupProgress, Change, ChangeNotifier, CommitOutcome,
    EventPage, EventQuery, Finding, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery,
    Repaired, Scanned, Sharing, StorageHealth, UsageChange, UsageOutcome, UsageSubject, apply,
    apply_usage,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};
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
    pub(super) connector: Connector,
    pub(super) sharing: Sharing,
    pub(super) process: Process,
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) announcer: ChangeNotifier,
}

impl Sqlite {
    /// Reads in one short transaction.
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, BackendError> {
        self.snapshot(work).map_err(|fault| self.failed(operation, fault))
    }

    fn snapshot<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        self.readers.with(&self.connector, |connection| work(&*Snapshot::begin(connection)?))
    }

    /// Reads what a store can't do without. Names the pages that keep it from that.
    fn read_all<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, BackendError> {
        self.snapshot(work)
            .map_err(|fault| self.failed(operation, check::explained(fault, &self.connector)))
    }

    /// Writes in one transaction, durable when it returns.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.write_with((operation, Patience::Usual), work)
    }

    fn write_with<T>(
        &self,
        how: (&'static str, Patience),
        work: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let written = self.writer.write(&self.connector, &self.readers, how, work);
        written.map_err(|error| error.at(self.connector.files.database()))
    }

    /// Shows a table in short transactions, or in one if its rows are out of order.
    fn scan_table(
        &self,
        visit: &mut dyn FnMut(Scanned),
        read: impl Fn(&Connection, Part<'_>) -> Result<Scan, Fault>,
    ) -> Result<(), BackendError> {
        const OPERATION: &str = "scan";
        let mut after = Some(Vec::new());
        let (mut read_rows, mut lost_rows) = (0_usize, 0_usize);
        while let Some(from) = &after {
            let some =
                self.read_all(OPERATION, |tx| match read(tx, Part::After(from, READ_BUDGET)) {
                    Err(Fault::OutOfOrder) => read(tx, Part::Whole),
                    some => some,
                })?;
            let lost = some.rows.iter().filter(|row| is_of_page(row)).count();
            (read_rows, lost_rows) = (read_rows + some.rows.len() - lost, lost_rows + lost);
            // Outside of the transaction: what the caller does with them may take its time.
            some.rows.into_iter().for_each(&mut *visit);
            after = some.next;
        }
        if lost_rows > 0 && read_rows == 0 {
            // The table's first page. A store without any key would reject all tokens.
            let fault = check::explained(Fault::page(), &self.connector);
            return Err(self.failed(OPERATION, fault));
        }
        Ok(())
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

fn is_of_page(row: &Scanned) -> bool {
    matches!(row, Scanned::Damaged(row) if row.damage.column == PAGE)
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
        self.read_all("read metadata", metadata::load)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        const OPERATION: &str = "scan";
        let last = self.read_all(OPERATION, events::last)?;
        self.scan_table(visit, scan::owners)?;
        // An entry that is written after this leaves an event after `last`.
        let entries = self.read_all(OPERATION, quarantine::all)?;
        self.scan_table(visit, |tx, part| scan::keys(tx, part, &entries))?;
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
        found.rows.into_iter().for_each(visit);
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

    fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.read("read key", |tx| quarantine::load(tx, id))
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        const OPERATION: &str = "commit";
        let last = |applied: &Applied| applied.last_event;
        let write = |batch: &[Change]| {
            self.write(OPERATION, |tx| {
                let mut commit = Commit::new(tx);
                let outcome: CommitOutcome = batch
                    .iter()
                    .map(|change| apply(&mut commit, change))
                    .collect::<Result<_, _>>()?;
                let first = outcome.iter().flatten().map(|applied| applied.first_event).min();
                if let Some((first, last)) = first.zip(outcome.iter().flatten().map(last).max()) {
                    let checked = self.writer.records.check_events(first, last);
                    checked.map_err(|fault| fault.during(OPERATION))?;
                }
                Ok(outcome)
            })
        };
        let outcome = in_parts(batch, &write, &|error| Err(of_page(error)))?;
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
            let pruned = events::prune(tx, before, limit);
            let pruned = pruned.and_then(|count| free_pages::give_back(tx).map(|()| count));
            pruned.map_err(|fault| fault.during(OPERATION))
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
        let is_brief = batch.iter().any(UsageChange::is_brief);
        let patience = if is_brief { Patience::Short } else { Patience::Usual };
        let how = ("take in usage", patience);
        let write = |batch: &[UsageChange]| {
            self.write_with(how, |tx| apply_usage(&mut Commit::new(tx), batch))
        };
        in_parts(batch, &write, &|_| None)
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

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        let mut findings = check_reads(self)?;
        self.read("check", check::all)?.into_iter().for_each(|finding| findings.add(finding));
        Ok(findings.into_all())
    }

    fn repair(&self, now: Timestamp) -> Result<Repaired, BackendError> {
        const OPERATION: &str = "repair";
        let before = self.check()?;
        if before.iter().any(Finding::is_mendable) {
            for group in repair::steps(&before) {
                for step in group {
                    let mended = self.write(OPERATION, |tx| {
                        step.run(tx, now).map_err(|fault| fault.during(OPERATION))
                    });
                    match mended {
                        Ok(()) => break,
                        // What the connection knows of the schema may be what was undone.
                        Err(error) if is_of_damage(&error) => self.writer.give_up_connection(),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(Repaired::between(before, self.check()?))
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
        let closed = self.writer.close(&self.connector, &self.readers);
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
