//! The backend: who may read and write when, and the contract in terms of the rest.

use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use super::derived::{self, Differences};
use super::engine::{Engine, WriteFault};
use super::fault::{Fault, NAME};
use super::files::tree_bytes;
use super::layout::Layout;
use super::life::Live;
use super::options::SledOptions;
use super::overlay::{Batch, Overlay};
use super::read::Cursor;
use super::trees::Tree;
use crate::backend::check::by_reading as check_reads;
use crate::backend::opening::Intent;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, ChangeNotifier, CommitOutcome, EventPage,
    EventQuery, Finding, KeyFilter, KeyPage, KeyPageQuery, Opened, OwnerPage, OwnerPageQuery,
    Repaired, Scanned, Sharing, StorageHealth, UsageChange, UsageOutcome, UsageSubject, apply,
    apply_usage, storage,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};
use crate::process::Process;

/// The number of records that are read before others get their turn.
const CHUNK: usize = 512;

/// The sled backend: one directory, one process, one handle.
///
/// It can't be opened only to look at, nor backed up while it is open: close it, and copy the directory.
///
/// Writers wait for each other, and for the disk. Readers wait while a batch is being written, so
/// that no caller reads what may yet be lost.
///
/// It doesn't cross a fork: a store that has it open refuses every call in a child, and dropping it
/// there leaves the parent's files as they are.
pub struct Sled {
    layout: Layout,
    options: SledOptions,
    process: Process,
    /// Held by a thread that writes, from its first read to the end.
    turn: Mutex<()>,
    /// `None` once closed. Taken after `turn`.
    live: RwLock<Option<Live>>,
    announcer: ChangeNotifier,
}

impl Sled {
    /// Creates a database in a new or an empty directory, or in one on which no store was ever
    /// created.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `AlreadyExists` instead of `Missing` where a database is.
    pub fn create(dir: impl AsRef<Path>, options: SledOptions) -> Result<Self, BackendError> {
        Self::begin(dir.as_ref(), options, Intent::Create).map(|(sled, _)| sled)
    }

    /// Opens the database in this directory.
    ///
    /// The lock is `DIR.lock` beside the directory; the file stays and means nothing by existing.
    ///
    /// # Errors
    /// [`BackendError`], and nothing was changed: `Missing` for no directory, an empty one, or one
    /// on which no store was ever created; `NotADatabase` for something that isn't a directory, or
    /// lies in none; `Foreign` for a directory with other things in it; `NetworkFileSystem` for one
    /// that the options don't allow (Linux only); `Newer`, `ReadOnly`, `AlreadyOpen`, `Corrupt` and
    /// `Io` as their names say.
    pub fn open(dir: impl AsRef<Path>, options: SledOptions) -> Result<Self, BackendError> {
        Self::begin(dir.as_ref(), options, Intent::Open).map(|(sled, _)| sled)
    }

    /// Opens the database in this directory, or creates one there, and says which. A service whose
    /// volume isn't mounted begins with an empty database then: where that must not happen, create
    /// once and then [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), except `Missing`.
    pub fn open_or_create(
        dir: impl AsRef<Path>,
        options: SledOptions,
    ) -> Result<(Self, Opened), BackendError> {
        Self::begin(dir.as_ref(), options, Intent::OpenOrCreate)
    }

    fn begin(
        dir: &Path,
        options: SledOptions,
        intent: Intent,
    ) -> Result<(Self, Opened), BackendError> {
        let begun = Layout::at(dir, options.sync).and_then(|layout| {
            layout.expect_local(options.network)?;
            let (live, opened) = Live::open(&layout, &options, intent)?;
            let last = live.engine()?.last_event()?;
            Ok((layout, live, opened, last))
        });
        let (layout, live, opened, last) =
            begun.map_err(|fault| fault.during(intent.operation()).at(dir))?;
        let announcer = ChangeNotifier::default();
        announcer.announce(last);
        let process = Process::current();
        let (turn, live) = (Mutex::new(()), RwLock::new(Some(live)));
        Ok((Self { layout, options, process, turn, live, announcer }, opened))
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Option<Live>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads at one moment, between two commits.
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, Fault>,
    ) -> Result<T, BackendError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let live = live.as_ref().ok_or_else(|| closed(operation))?;
        live.engine().and_then(work).map_err(|fault| self.failed(operation, fault))
    }

    /// Writes what was decided in this turn. An error is of unknown outcome, or nothing happened.
    fn write(&self, operation: &'static str, batch: &Batch) -> Result<(), BackendError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let mut live = self.live_mut();
        let live = live.as_mut().ok_or_else(|| closed(operation))?;
        live.write(&self.layout, batch).map_err(|fault| match fault {
            WriteFault::Before(fault) => self.failed(operation, fault),
            WriteFault::Unknown(fault) => self.failed(operation, fault).of_unknown_outcome(),
        })
    }

    /// Adds the place of the database to the error of a decision.
    fn decided<T>(&self, decided: Result<T, BackendError>) -> Result<T, BackendError> {
        decided.map_err(|error| error.at(self.layout.dir()))
    }

    fn failed(&self, operation: &'static str, fault: Fault) -> BackendError {
        fault.during(operation).at(self.layout.dir())
    }

    /// Does this in place of the next sync.
    #[cfg(test)]
    pub(super) fn replace_next_sync(
        &self,
        sync: impl FnOnce() -> Result<(), Fault> + Send + 'static,
    ) {
        self.read("test", |engine| {
            engine.replace_next_sync(Box::new(sync));
            Ok(())
        })
        .unwrap();
    }
}

fn closed(operation: &'static str) -> BackendError {
    BackendError::new(BackendErrorKind::Closed, NAME, operation)
}

impl fmt::Debug for Sled {
    /// sled's own types would show everything that is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").field("dir", &self.layout.dir()).finish_non_exhaustive()
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        if self.process.is_forked() {
            // sled would wait for threads that the parent has, and write to the parent's files.
            mem::forget(self.live.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        // No caller is left to get the error.
        let _ = self.close();
    }
}

impl Backend for Sled {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }

    fn storage(&self) -> StorageHealth {
        let dir = self.layout.dir();
        // sled's log is its only file.
        StorageHealth {
            file_bytes: tree_bytes(dir).ok(),
            free_bytes: storage::free_bytes(dir),
            ..StorageHealth::default()
        }
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        self.read("read metadata", Engine::metadata)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let last = self.read("scan", Engine::last_event)?;
        for tree in [Tree::Owners, Tree::Keys] {
            let mut cursor = Cursor::default();
            loop {
                let some = self.read("scan", |engine| engine.scan(tree, &mut cursor, CHUNK))?;
                let is_last = some.len() < CHUNK;
                some.into_iter().for_each(&mut *visit);
                if is_last {
                    break;
                }
            }
        }
        Ok(last)
    }

    fn expected_keys(&self) -> u64 {
        // The scan will meet the same failure.
        self.read("scan", Engine::expected_keys).unwrap_or_default()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.read("scan owner", |engine| engine.scan_owner(owner))?.into_iter().for_each(visit);
        Ok(())
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.read("read owner", |engine| engine.owner(id))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |engine| engine.key(id))
    }

    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.read("read request", |engine| engine.request(id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.read("read key", |engine| engine.key_by_numeric_id(id))
    }

    fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.read("read key", |engine| engine.quarantine(id))
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        const OPERATION: &str = "commit";
        let _turn = self.take_turn();
        // An error of the rules of a commit is a `BackendError` already.
        let decided = self.read(OPERATION, |engine| {
            let mut overlay = Overlay::new(engine);
            let outcome: Result<CommitOutcome, _> =
                batch.iter().map(|change| apply(&mut overlay, change)).collect();
            overlay.finish(outcome)
        })?;
        let (outcome, batch) = self.decided(decided)?;
        self.write(OPERATION, &batch)?;
        if let Some(applied) = outcome.iter().rev().find_map(|one| one.as_ref().ok()) {
            self.announcer.announce(applied.last_event);
        }
        Ok(outcome)
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.read("list keys", |engine| engine.page_keys(query))
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        let (mut count, mut cursor) = (0, Cursor::default());
        let mut some = |engine: &Engine| engine.count_keys(filter, &mut cursor, CHUNK);
        while let Some(more) = self.read("count keys", &mut some)? {
            count += more;
        }
        Ok(count)
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.read("list owners", |engine| engine.page_owners(query))
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.read("read events", |engine| engine.events(query))
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.read("read events", Engine::last_event)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        const OPERATION: &str = "prune events";
        let _turn = self.take_turn();
        let (batch, count) = self.read(OPERATION, |engine| {
            let oldest = engine.oldest_events(before, limit)?;
            let mut overlay = Overlay::new(engine);
            for (number, event) in &oldest {
                overlay.remove_event(*number, event.as_ref())?;
            }
            Ok((overlay.into_batch()?, oldest.len() as u64))
        })?;
        self.write(OPERATION, &batch).map(|()| count)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        // Closing announces the greatest number, so that no thread waits for what can't come.
        let last = self.announcer.wait(after, timeout);
        let is_closed = self.live.read().unwrap_or_else(PoisonError::into_inner).is_none();
        if is_closed { Err(closed("wait")) } else { Ok(last) }
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        const OPERATION: &str = "take in usage";
        let _turn = self.take_turn();
        let decided = self.read(OPERATION, |engine| {
            let mut overlay = Overlay::new(engine);
            let outcome = apply_usage(&mut overlay, batch);
            overlay.finish(outcome)
        })?;
        let (outcome, batch) = self.decided(decided)?;
        self.write(OPERATION, &batch).map(|()| outcome)
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.read("read usage", |engine| of.iter().map(|of| engine.usage(of)).collect())
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        let mut findings = check_reads(self)?;
        let own = self.read("check", |engine| {
            let mut own = derived::check_sums(engine)?;
            own.extend(Differences::of(engine)?.findings);
            Ok(own)
        })?;
        own.into_iter().for_each(|finding| findings.add(finding));
        Ok(findings.into_all())
    }

    fn repair(&self, now: Timestamp) -> Result<Repaired, BackendError> {
        const OPERATION: &str = "repair";
        let before = self.check()?;
        if before.iter().any(Finding::is_mendable) {
            let _turn = self.take_turn();
            let batch = self.read(OPERATION, |engine| {
                let mut overlay = Overlay::new(engine);
                Differences::of(engine)?.mend(&mut overlay)?;
                for of in before.iter().filter_map(Finding::usage_of) {
                    derived::replace_usage(&mut overlay, &of, now)?;
                }
                overlay.into_batch()
            })?;
            self.write(OPERATION, &batch)?;
            let sums = self.read(OPERATION, derived::mended_sums)?;
            self.write(OPERATION, &sums)?;
        }
        Ok(Repaired::between(before, self.check()?))
    }

    fn check_files(&self) -> Result<(), BackendError> {
        const OPERATION: &str = "check files";
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let live = live.as_ref().ok_or_else(|| closed(OPERATION))?;
        live.check_files().map_err(|fault| self.failed(OPERATION, fault))
    }

    fn recover(&self) -> Result<(), BackendError> {
        const OPERATION: &str = "recover";
        let _turn = self.take_turn();
        let mut live = self.live_mut();
        let live = live.as_mut().ok_or_else(|| closed(OPERATION))?;
        let recovered = live.recover(&self.layout, &self.options);
        let last = recovered.and_then(|()| live.engine()?.last_event());
        self.announcer.announce(last.map_err(|fault| self.failed(OPERATION, fault))?);
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        let _turn = self.take_turn();
        let live = self.live_mut().take();
        self.announcer.announce(u64::MAX);
        let closed = live.map_or(Ok(()), |live| live.close(&self.layout));
        closed.map_err(|fault| self.failed("close", fault))
    }
}
