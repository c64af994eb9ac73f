//! The backend: each call of the contract.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, Change, ChangeNotifier, CommitOutcome, DamagedRecord,
    EventPage, EventQuery, Finding, KeyFilter, KeyPage, KeyPageQuery, Opened, OwnerPage,
    OwnerPageQuery, Repaired, Scanned, Sharing, StorageHealth, UsageChange, UsageOutcome,
    UsageSubject, apply, apply_usage, check_by_reading,
};
use keyhasp::clock::Timestamp;
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata};

use crate::RedbOptions;
use crate::derived::{Differences, replace_usage};
use crate::fault::{Fault, NAME};
use crate::place::Place;
use crate::read;
use crate::tables::{self, Part, View};
use crate::transaction::Writing;

/// Records in one file of redb. It is exclusive: one process, one handle.
pub struct Redb {
    /// Held through a commit, a recovery and a close, so that one comes after the other.
    turn: Mutex<()>,
    state: RwLock<State>,
    /// Where it is; for errors, also after it was closed.
    path: std::path::PathBuf,
    notifier: ChangeNotifier,
}

enum State {
    Open(Database, Place),
    /// The outcome of a commit isn't known: nothing is read or written before a recovery.
    Unsure(Place),
    Closed,
}

impl fmt::Debug for Redb {
    /// Shows nothing of what is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Redb {
    /// Creates a database in a file that isn't there, is empty, or in which no store was ever created.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `AlreadyExists` instead of `Missing` where a database is.
    pub fn create(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, BackendError> {
        match Self::begin(path.as_ref(), options, "create", true)? {
            (redb, Opened::Created) => Ok(redb),
            (redb, Opened::Existing) => {
                Err(redb.refused(BackendErrorKind::AlreadyExists, "create"))
            }
        }
    }

    /// Opens the database in this file.
    ///
    /// The lock is `PATH.lock` beside the file; that stays, and means nothing by existing.
    ///
    /// # Errors
    /// [`BackendError`], and no record was changed: `Missing` for no file, an empty one, or one in
    /// which no store was ever created; `NotADatabase` for something that isn't a file of redb, or a
    /// path in no directory; `Foreign` for a redb database of another application; `AlreadyOpen`,
    /// `Newer`, `ReadOnly`, `Corrupt`, `Full` and `Io` as their names say.
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, BackendError> {
        match Self::begin(path.as_ref(), options, "open", false)? {
            (redb, Opened::Existing) => Ok(redb),
            (redb, Opened::Created) => Err(redb.refused(BackendErrorKind::Missing, "open")),
        }
    }

    /// Opens the database in this file, or creates one there, and says which. A service whose volume
    /// isn't mounted begins with an empty database then: where that must not happen, create once and
    /// then [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), except `Missing`.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        options: RedbOptions,
    ) -> Result<(Self, Opened), BackendError> {
        Self::begin(path.as_ref(), options, "open or create", true)
    }

    fn begin(
        path: &Path,
        options: RedbOptions,
        operation: &'static str,
        may_create: bool,
    ) -> Result<(Self, Opened), BackendError> {
        let begun = || {
            let place = Place::lock(path, options)?;
            if !place.has_file()? {
                if !may_create {
                    let text = "there is no database; to make one, call `create`";
                    return Err(Fault::new(BackendErrorKind::Missing, text));
                }
                place.create()?;
            }
            let (database, has_store) = place.open()?;
            let last = tables::greatest(&database.begin_read()?, Part::Events)?;
            Ok((database, place, if has_store { Opened::Existing } else { Opened::Created }, last))
        };
        let begun: Result<_, Fault> = begun();
        let (database, place, opened, last) =
            begun.map_err(|fault| fault.during(operation).at(path))?;
        let (path, notifier) = (place.path().to_owned(), ChangeNotifier::default());
        // A caller that waits for events must know those from before this open.
        notifier.announce(last);
        let state = RwLock::new(State::Open(database, place));
        Ok((Self { turn: Mutex::new(()), state, path, notifier }, opened))
    }

    /// Lets go of a database that is not what was asked for.
    fn refused(self, kind: BackendErrorKind, operation: &'static str) -> BackendError {
        BackendError::new(kind, NAME, operation).at(&self.path)
    }

    fn failed(&self, fault: Fault, operation: &'static str) -> BackendError {
        fault.during(operation).at(&self.path)
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        // What a panic left is in no transaction: that was never committed.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database, _) => work(database),
            State::Unsure(_) => {
                let text = "the outcome of an earlier commit is not known: recover first";
                Err(self.failed(Fault::new(BackendErrorKind::Io, text), operation))
            }
            State::Closed => Err(BackendError::new(BackendErrorKind::Closed, NAME, operation)),
        }
    }

    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, BackendError> {
        self.with(operation, |database| {
            let done = database.begin_read().map_err(Fault::from).and_then(|view| work(&view));
            done.map_err(|fault| self.failed(fault, operation))
        })
    }

    /// Writes in one durable step, unless the work fails.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let _turn = self.take_turn();
        let mut is_committing = false;
        let written = self.with(operation, |database| {
            let told = |fault| self.failed(fault, operation);
            let mut view = database.begin_write().map_err(|error| told(error.into()))?;
            // With one phase, the kinds of damage that a crash may leave rest on a checksum that isn't
            // cryptographic.
            view.set_two_phase_commit(true);
            let done = work(&mut Writing { view: &view, operation })?;
            let last = tables::greatest(&view, Part::Events).map_err(told)?;
            is_committing = true;
            view.commit().map_err(|error| told(error.into()))?;
            self.notifier.announce(last);
            Ok(done)
        });
        written.map_err(|error| {
            let is_of_engine =
                matches!(error.kind(), BackendErrorKind::Io | BackendErrorKind::Full);
            if is_committing {
                self.set_unsure();
                error.of_unknown_outcome()
            } else if is_of_engine && self.open_again().is_err() {
                // Nothing of it happened, but redb does nothing more on a file that it couldn't read.
                self.set_unsure();
                error.of_unknown_outcome()
            } else {
                error
            }
        })
    }

    fn replace(&self, next: impl FnOnce(State) -> State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Closed);
        *state = next(before);
    }

    fn set_unsure(&self) {
        self.replace(|state| match state {
            State::Open(database, place) => {
                place.note_unsynced();
                drop(database);
                State::Unsure(place)
            }
            state => state,
        });
    }

    /// Opens the file again after a failure that no commit met.
    fn open_again(&self) -> Result<(), Fault> {
        let mut outcome = Ok(());
        self.replace(|state| match state {
            State::Open(database, place) => {
                drop(database);
                match place.open() {
                    Ok((database, _)) => State::Open(database, place),
                    Err(fault) => {
                        outcome = Err(fault);
                        State::Unsure(place)
                    }
                }
            }
            state => state,
        });
        outcome
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        // No caller is left to get the error.
        let _ = self.close();
    }
}

impl Backend for Redb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }

    fn storage(&self) -> StorageHealth {
        let mut health = StorageHealth::default();
        health.file_bytes = std::fs::metadata(&self.path).ok().map(|about| about.len());
        health
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        self.read("read metadata", read::metadata)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.read("scan", |view| read::scan(view, visit))
    }

    fn expected_keys(&self) -> u64 {
        let len = self.read("scan", |view| Ok(view.table(Part::Keys)?.len()?));
        // The scan will meet the same failure.
        len.unwrap_or_default()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.read("scan owner", |view| read::scan_owner(view, owner, visit))
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.read("read owner", |view| read::owner(view, id))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |view| read::key(view, id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |view| read::key_by_numeric_id(view, id))
    }

    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.read("read request", |view| read::request(view, id))
    }

    fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.read("read key", |view| read::quarantine(view, id))
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        // A refused change has written nothing; an error abandons the transaction.
        self.write("commit", |writing| batch.iter().map(|change| apply(writing, change)).collect())
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.read("list keys", |view| read::page_keys(view, query))
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.read("count keys", |view| read::count_keys(view, filter))
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.read("list owners", |view| read::page_owners(view, query))
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.read("read events", |view| read::events(view, query))
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.read("read events", |view| tables::greatest(view, Part::Events))
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        const OPERATION: &str = "prune events";
        self.write(OPERATION, |writing| {
            let pruned = read::oldest_events(writing.view, before, limit).and_then(|oldest| {
                for (number, event) in &oldest {
                    writing.remove_event(*number, event.as_ref())?;
                }
                Ok(oldest.len() as u64)
            });
            pruned.map_err(|fault| self.failed(fault, OPERATION))
        })
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        let last = self.notifier.wait(after, timeout);
        // Closing announces the greatest number, so that no thread waits for what can't come.
        self.with("wait", |_| Ok(last))
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.write("record usage", |writing| apply_usage(writing, batch))
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.read("read usage", |view| {
            of.iter().map(|of| Ok(read::usage(view, of)?.unwrap_or_default())).collect()
        })
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        let mut findings = check_by_reading(self)?;
        findings.extend(self.read("check", Differences::of)?.findings);
        Ok(findings)
    }

    fn repair(&self, now: Timestamp) -> Result<Repaired, BackendError> {
        const OPERATION: &str = "repair";
        let before = self.check()?;
        let usages: Vec<DamagedRecord> = before
            .iter()
            .filter_map(|finding| match finding {
                Finding::Usage(damage) => Some(damage.record),
                _ => None,
            })
            .collect();
        if before.iter().any(Finding::is_mendable) {
            self.write(OPERATION, |writing| {
                let mended = Differences::of(writing.view).and_then(|differences| {
                    differences.mend(writing)?;
                    usages.iter().try_for_each(|of| replace_usage(writing, *of, now))
                });
                mended.map_err(|fault| self.failed(fault, OPERATION))
            })?;
        }
        let mut repaired = Repaired::default();
        repaired.left = self.check()?;
        repaired.mended =
            before.into_iter().filter(|finding| !repaired.left.contains(finding)).collect();
        Ok(repaired)
    }

    fn recover(&self) -> Result<(), BackendError> {
        const OPERATION: &str = "recover";
        let _turn = self.take_turn();
        let mut outcome = Ok(());
        self.replace(|state| match state {
            State::Unsure(place) => match place.copy().and_then(|()| place.open()) {
                Ok((database, _)) => State::Open(database, place),
                Err(fault) => {
                    outcome = Err(self.failed(fault, OPERATION));
                    State::Unsure(place)
                }
            },
            state => state,
        });
        outcome?;
        let last = self.read(OPERATION, |view| tables::greatest(view, Part::Events))?;
        self.notifier.announce(last);
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        let _turn = self.take_turn();
        let mut outcome = Ok(());
        self.replace(|state| {
            if let State::Open(database, place) = state {
                outcome = database.close().map_err(|error| self.failed(error.into(), "close"));
                // Only now another opener may come.
                drop(place);
            }
            State::Closed
        });
        // Wakes the waiting threads, which then find the backend closed.
        self.notifier.announce(u64::MAX);
        outcome
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_is_read_or_written_before_a_recovery() {
        let dir = tempfile::tempdir().unwrap();
        let redb = Redb::create(dir.path().join("keys.redb"), RedbOptions::default()).unwrap();
        let note = dir.path().join("keys.redb.unsynced");
        redb.set_unsure();
        assert!(note.exists());
        assert_eq!(redb.metadata().unwrap_err().kind(), BackendErrorKind::Io);
        assert_eq!(redb.commit(&[]).unwrap_err().kind(), BackendErrorKind::Io);
        // No other opener gets in between.
        let second = Redb::open_or_create(dir.path().join("keys.redb"), RedbOptions::default());
        assert_eq!(second.unwrap_err().kind(), BackendErrorKind::AlreadyOpen);
        redb.recover().unwrap();
        assert!(!note.exists());
        assert_eq!(redb.metadata().unwrap(), None);
        assert_eq!(redb.commit(&[]).unwrap().len(), 0);
        redb.close().unwrap();
        assert_eq!(redb.recover().unwrap_err().kind(), BackendErrorKind::Closed);
    }

    #[test]
    fn a_file_that_failed_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let redb = Redb::create(dir.path().join("keys.redb"), RedbOptions::default()).unwrap();
        redb.open_again().unwrap();
        assert_eq!(redb.metadata().unwrap(), None);
        let failed: Result<(), _> =
            redb.write("test", |_| Err(BackendError::new(BackendErrorKind::Full, NAME, "test")));
        assert_eq!(failed.unwrap_err().kind(), BackendErrorKind::Full);
        assert_eq!(redb.commit(&[]).unwrap().len(), 0);
    }
}
