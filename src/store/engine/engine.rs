//! The engine: makes a change durable, then publishes it in the index.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::affected::AffectedRecords;
use super::availability::Availability;
use super::group_commit::{CommitGuard, GroupCommit};
use super::prefixes::AcceptedPrefixes;
use super::pruning::Retention;
use super::worker::Signal;
use crate::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, Operation, Rejection, ScannedKey,
    Sharing, Write,
};
use crate::clock::{Clock, Timestamp};
use crate::id::Version;
use crate::key::{Prefix, StoreMetadata};
use crate::permission::Catalogue;
use crate::store::index::Index;
use crate::store::types::error::{Error, Unavailable};
use crate::token::Peppers;

/// Number of events that one step of pruning deletes. A step takes a few milliseconds on a disk, and
/// other threads commit between two steps.
const PRUNE_STEP: usize = 512;

/// Observer of each key that the engine loads or publishes. The engine calls it while it holds its
/// locks, so an observer must not call the engine.
pub(in crate::store) trait KeyObserver: std::fmt::Debug + Send + Sync {
    /// Notes a key, new or changed.
    fn note_key(&self, key: &ScannedKey);
}

/// The backend, the index, and the parts that a change passes through between them.
#[derive(Debug)]
pub(in crate::store) struct Engine {
    pub(in crate::store) backend: Arc<dyn Backend>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) index: Index,
    pub(in crate::store) availability: Availability,
    pub(in crate::store) peppers: Peppers,
    pub(in crate::store) prefixes: AcceptedPrefixes,
    pub(super) retention: Retention,
    pub(super) observer: Arc<dyn KeyObserver>,
    pub(super) group_commit: GroupCommit,
    /// Locked, since calls read it while another thread replaces it. Without the lock a call could
    /// pair the version of one metadata record with the prefixes of another.
    pub(super) metadata: RwLock<MetadataState>,
    /// The records of changes whose outcome is unknown. Locked, since threads add to it while
    /// recovery takes it. Without the lock a record could be lost, and stay indeterminate for ever.
    pub(super) indeterminate: Mutex<AffectedRecords>,
    /// Wakes the recovery thread.
    pub(super) recovery: Arc<Signal>,
    /// Held while a thread reads records from the backend and puts them into the index. Without it
    /// a thread with an older reading could overwrite a newer one.
    pub(super) applied_log: Mutex<AppliedLog>,
}

/// The parts that an engine is made of.
#[derive(Debug)]
pub(in crate::store) struct EngineParts {
    pub(in crate::store) backend: Arc<dyn Backend>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) catalogue: Catalogue,
    pub(in crate::store) peppers: Peppers,
    pub(in crate::store) retention: Retention,
    pub(in crate::store) observer: Arc<dyn KeyObserver>,
    pub(in crate::store) metadata: MetadataState,
}

/// The store's metadata, and its accepted prefixes in the order in which the service names them.
#[derive(Clone, Debug)]
pub(in crate::store) struct MetadataState {
    pub(in crate::store) metadata: StoreMetadata,
    pub(in crate::store) prefixes: Vec<Prefix>,
}

/// The number of the last event that the index reflects.
#[derive(Debug)]
pub(in crate::store) struct AppliedLog {
    pub(in crate::store) applied_seq: u64,
}

impl Engine {
    /// Makes an engine, and loads all records of the backend, whose metadata the caller has checked.
    pub(in crate::store) fn load(parts: EngineParts) -> Result<Self, Error> {
        let max_staleness = match parts.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { max_staleness } => Some(max_staleness),
        };
        let open_peppers = parts.peppers.iter().map(|(number, _)| number).collect();
        let mut engine = Self {
            index: Index::new(parts.catalogue, open_peppers, Arc::clone(&parts.clock)),
            availability: Availability::new(max_staleness),
            peppers: parts.peppers,
            prefixes: AcceptedPrefixes::new(&parts.metadata.metadata.prefixes),
            retention: parts.retention,
            observer: parts.observer,
            group_commit: GroupCommit::default(),
            metadata: RwLock::new(parts.metadata),
            indeterminate: Mutex::default(),
            recovery: Arc::default(),
            applied_log: Mutex::new(AppliedLog { applied_seq: 0 }),
            clock: parts.clock,
            backend: parts.backend,
        };
        engine.index.set_tokens_valid_from(engine.metadata().metadata.tokens_valid_from);
        let applied_seq = engine.load_all()?;
        engine.lock_applied_log().applied_seq = applied_seq;
        Ok(engine)
    }

    pub(in crate::store) fn catalogue(&self) -> &Catalogue {
        self.index.catalogue()
    }

    /// Returns the signal that wakes the recovery thread.
    pub(in crate::store) fn recovery(&self) -> &Arc<Signal> {
        &self.recovery
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(in crate::store) fn metadata(&self) -> MetadataState {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the order in which the service names the accepted prefixes, if the metadata still has
    /// this version.
    pub(in crate::store) fn set_prefix_order(&self, version: Version, prefixes: Vec<Prefix>) {
        let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        if state.metadata.version == version {
            state.prefixes = prefixes;
        }
    }

    /// Returns an error if the store is closed, or if another process has changed its rules.
    pub(in crate::store) fn check_open(&self) -> Result<(), Error> {
        match self.availability.unavailable() {
            Some(closed @ (Unavailable::Closed | Unavailable::RulesChanged)) => Err(closed.into()),
            _ => Ok(()),
        }
    }

    /// Commits a change. When this returns, the next verification sees the change.
    pub(in crate::store) fn commit(
        &self,
        change: Change,
    ) -> Result<Result<Applied, Rejection>, Error> {
        self.check_open()?;
        let outcome =
            self.group_commit.commit(change, |guard, batch| self.commit_batch(guard, batch));
        if outcome.is_ok() {
            self.prune_if_due();
        }
        outcome
    }

    /// Prunes some events if pruning is due. The next commit prunes more if there are
    /// more. If pruning fails, the next due time tries again.
    pub(in crate::store) fn prune_if_due(&self) {
        if let Some(before) = self.retention.due(self.now())
            && self.prune_step(before).is_ok_and(|count| !is_last_step(count))
        {
            self.retention.set_due();
        }
    }

    /// Commits a batch in one durable write, and publishes it.
    fn commit_batch(
        &self,
        guard: &CommitGuard<'_>,
        batch: &[Change],
    ) -> Result<Vec<Result<Applied, Rejection>>, Error> {
        if self.availability.is_recovering() {
            self.recover_locked(guard)?;
        }
        self.check_open()?;
        // Held over the commit of metadata: otherwise the refresh thread could read the new rules
        // before this process knows them, and take them for another process's change.
        let changes_metadata = |change: &Change| AffectedRecords::of_change(change).metadata;
        let held_log = batch.iter().any(changes_metadata).then(|| self.lock_applied_log());
        let mut unsettled = UnsettledBatch { engine: self, batch, is_settled: false };
        let outcome = self.backend.commit(batch);
        let applied_log = held_log.unwrap_or_else(|| self.lock_applied_log());
        let answer = match outcome {
            Ok(outcomes) if outcomes.len() == batch.len() => {
                let applied = batch.iter().zip(&outcomes);
                let applied = applied.filter_map(|(change, outcome)| {
                    outcome.as_ref().ok().map(|applied| (change, applied))
                });
                self.publish(applied, applied_log);
                Ok(outcomes)
            }
            // The backend breaks its contract: the outcome of every change is unknown.
            Ok(_) => {
                self.mark_indeterminate(&applied_log, batch);
                let kind = BackendErrorKind::OutcomeUnknown;
                Err(BackendError::new(kind, self.backend.name(), "commit").into())
            }
            Err(error) => {
                if error.kind() == BackendErrorKind::OutcomeUnknown {
                    self.mark_indeterminate(&applied_log, batch);
                }
                Err(error.into())
            }
        };
        unsettled.is_settled = true;
        answer
    }

    /// Publishes committed changes in the index. The caller holds the commit guard.
    fn publish<'a>(
        &self,
        applied: impl Iterator<Item = (&'a Change, &'a Applied)>,
        mut applied_log: MutexGuard<'_, AppliedLog>,
    ) {
        let exclusive = matches!(self.backend.sharing(), Sharing::Exclusive);
        let mut unpublished = Vec::new();
        for (change, applied) in applied {
            let published = if exclusive {
                applied_log.applied_seq = applied.last_event;
                change.operations.iter().try_for_each(|operation| self.put_operation(operation))
            } else {
                // Another process may have committed since, so the backend's records count.
                self.reload(&AffectedRecords::of_change(change))
            };
            if published.is_err() {
                unpublished.push(change.clone());
            }
        }
        if !unpublished.is_empty() {
            // These are committed but the index still holds the old records, which must not answer.
            self.mark_indeterminate(&applied_log, &unpublished);
        }
    }

    /// Deletes events older than `before` in steps, and returns the count. Other threads commit
    /// between two steps.
    pub(in crate::store) fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            match self.prune_step(before) {
                Ok(count) => {
                    removed += count;
                    if is_last_step(count) {
                        return Ok(removed);
                    }
                }
                Err(error @ Error::OutcomeUnknown(_)) => return Err(error),
                // An error would tell the caller that nothing was deleted. The next call, which
                // meets the same problem at once, returns it.
                Err(_) if removed > 0 => return Ok(removed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes some of the events older than `before`. Holds the commit guard: the backend takes one
    /// write at a time.
    fn prune_step(&self, before: Timestamp) -> Result<u64, Error> {
        let _guard = self.lock_commits()?;
        self.backend.prune_events(before, PRUNE_STEP).map_err(|error| self.on_write_error(error))
    }

    /// Waits until no thread commits, and keeps other threads from committing until the guard is
    /// dropped.
    pub(in crate::store) fn acquire(&self) -> CommitGuard<'_> {
        self.group_commit.acquire()
    }

    /// Acquires the commit guard for a write that isn't a commit. Recovers first where that is due,
    /// and returns an error if the store isn't open.
    pub(in crate::store) fn lock_commits(&self) -> Result<CommitGuard<'_>, Error> {
        let guard = self.group_commit.acquire();
        if self.availability.is_recovering() {
            self.recover_locked(&guard)?;
        }
        self.check_open()?;
        Ok(guard)
    }

    /// Maps the error of a write that isn't a commit. If its outcome is unknown, starts recovery.
    pub(in crate::store) fn on_write_error(&self, error: BackendError) -> Error {
        if error.kind() == BackendErrorKind::OutcomeUnknown {
            self.mark_indeterminate(&self.lock_applied_log(), &[]);
        }
        error.into()
    }

    /// Puts the record that an operation wrote into the index.
    fn put_operation(&self, operation: &Operation) -> Result<(), Error> {
        match &operation.write {
            Write::CreateKey(create) => self.put_key(&(&create.record).into()),
            Write::ReplaceKey(key) => self.put_key(&(&**key).into()),
            Write::CreateOwner(owner) | Write::ReplaceOwner(owner) => {
                self.put_owner(&(&**owner).into())
            }
            Write::RemoveKey(id, _) => match &operation.event.owner {
                Some(owner) => self.remove_key(*id, owner),
                None => Ok(()),
            },
            Write::RemoveOwner(id, _) => {
                self.index.remove_owner(id);
                Ok(())
            }
            Write::ReplaceMetadata(metadata) => self.put_metadata(metadata),
            Write::Nothing | Write::RecordAlert(..) => Ok(()),
        }
    }

    pub(in crate::store) fn lock_applied_log(&self) -> MutexGuard<'_, AppliedLog> {
        self.applied_log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a step of pruning that deleted `count` events was the last.
fn is_last_step(count: u64) -> bool {
    count < PRUNE_STEP as u64
}

/// A batch that the backend has received and that isn't settled yet.
///
/// The backend may panic, or the service's clock while the batch is published. The outcome of the
/// batch is unknown then, and dropping this starts recovery.
struct UnsettledBatch<'a> {
    engine: &'a Engine,
    batch: &'a [Change],
    is_settled: bool,
}

impl Drop for UnsettledBatch<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            // The index may hold half of the batch, so the whole store stops answering.
            self.engine.availability.set_recovering(true);
            let mut indeterminate =
                self.engine.indeterminate.lock().unwrap_or_else(PoisonError::into_inner);
            self.batch
                .iter()
                .for_each(|change| indeterminate.merge(AffectedRecords::of_change(change)));
            drop(indeterminate);
            // The recovery thread waits for the commit guard, which this thread still holds.
            self.engine.recovery.wake();
        }
    }
}
