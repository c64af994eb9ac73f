//! The engine: from a change to a durable commit to a published one.

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

/// How many events are pruned before waiting callers get their turn: on a disk, a few
/// milliseconds' work.
const PRUNED_AT_ONCE: usize = 512;

/// Learns of each key that the engine loads or publishes. The engine calls it with its locks held.
pub(in crate::store) trait KeyObserver: std::fmt::Debug + Send + Sync {
    /// Notes a key, new or changed.
    fn note_key(&self, key: &ScannedKey);
}

/// What reads and changes the records of a store, and publishes them in the index.
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
    pub(super) metadata: RwLock<MetadataState>,
    /// The records of changes of unknown outcome.
    pub(super) indeterminate: Mutex<AffectedRecords>,
    /// Wakes the thread that recovers.
    pub(super) recovery: Arc<Signal>,
    /// Held while records are read from the backend and put into the index. Without it an older
    /// reading could overwrite a newer one.
    pub(super) applied_log: Mutex<AppliedLog>,
}

/// What an engine is made of.
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

/// The store's own record, and the order in which its prefixes were named.
#[derive(Clone, Debug)]
pub(in crate::store) struct MetadataState {
    pub(in crate::store) metadata: StoreMetadata,
    pub(in crate::store) prefixes: Vec<Prefix>,
}

/// How far the event log is reflected in the index.
#[derive(Debug)]
pub(in crate::store) struct AppliedLog {
    pub(in crate::store) applied_seq: u64,
}

impl Engine {
    /// Loads all records of a backend whose metadata was checked.
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

    /// Wakes the thread that recovers.
    pub(in crate::store) fn recovery(&self) -> &Arc<Signal> {
        &self.recovery
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(in crate::store) fn metadata(&self) -> MetadataState {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts the accepted prefixes into the order in which the service names them, if the metadata
    /// still have this version.
    pub(in crate::store) fn set_prefix_order(&self, version: Version, prefixes: Vec<Prefix>) {
        let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        if state.metadata.version == version {
            state.prefixes = prefixes;
        }
    }

    /// Refuses management calls on a closed store, and on one whose rules were changed elsewhere.
    pub(in crate::store) fn check_open(&self) -> Result<(), Error> {
        match self.availability.unavailable() {
            Some(closed @ (Unavailable::Closed | Unavailable::RulesChanged)) => Err(closed.into()),
            _ => Ok(()),
        }
    }

    /// Commits a change; what it did is in force for the next verification when this returns.
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

    /// Keeps the retention of events: some are pruned, and if there are more, the next commit goes
    /// on. A failure is made good the next time.
    pub(in crate::store) fn prune_if_due(&self) {
        if let Some(before) = self.retention.due(self.now())
            && self.prune_some(before).is_ok_and(|some| !is_last(some))
        {
            self.retention.go_on();
        }
    }

    /// One durable commit_batch for all of a batch.
    fn commit_batch(
        &self,
        guard: &CommitGuard<'_>,
        batch: &[Change],
    ) -> Result<Vec<Result<Applied, Rejection>>, Error> {
        if self.availability.is_recovering() {
            self.recover_locked(guard)?;
        }
        self.check_open()?;
        // Otherwise the refresher might take a change of the rules for somebody else's.
        let changes_metadata = |change: &Change| AffectedRecords::by_change(change).metadata;
        let held = batch.iter().any(changes_metadata).then(|| self.lock_applied_log());
        let mut unsettled = UnsettledBatch { engine: self, batch, is_settled: false };
        let outcome = self.backend.commit(batch);
        let applied_log = held.unwrap_or_else(|| self.lock_applied_log());
        let answer = match outcome {
            Ok(outcomes) if outcomes.len() == batch.len() => {
                let applied = batch.iter().zip(&outcomes);
                let applied = applied.filter_map(|(change, outcome)| {
                    outcome.as_ref().ok().map(|applied| (change, applied))
                });
                self.publish(applied, applied_log);
                Ok(outcomes)
            }
            // The contract is broken: nothing can be said of any change.
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

    /// Puts committed changes into the index. Nobody else commits in this process meanwhile.
    fn publish<'a>(
        &self,
        applied: impl Iterator<Item = (&'a Change, &'a Applied)>,
        mut applied_log: MutexGuard<'_, AppliedLog>,
    ) {
        let exclusive = matches!(self.backend.sharing(), Sharing::Exclusive);
        let mut hidden = Vec::new();
        for (change, applied) in applied {
            let in_force = if exclusive {
                applied_log.applied_seq = applied.last_event;
                change.operations.iter().try_for_each(|operation| self.put_operation(operation))
            } else {
                // Another process may have committed since: what is in the backend now counts.
                self.reload(&AffectedRecords::by_change(change))
            };
            if in_force.is_err() {
                hidden.push(change.clone());
            }
        }
        if !hidden.is_empty() {
            // Committed, and can't be shown: nothing may be answered by what was before.
            self.mark_indeterminate(&applied_log, &hidden);
        }
    }

    /// Removes events before a moment, some at a time; in between, others commit.
    pub(in crate::store) fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            match self.prune_some(before) {
                Ok(some) => {
                    removed += some;
                    if is_last(some) {
                        return Ok(removed);
                    }
                }
                Err(error @ Error::OutcomeUnknown(_)) => return Err(error),
                // An error would say that nothing happened; the next call meets the trouble first.
                Err(_) if removed > 0 => return Ok(removed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes some of the events before a moment. Nobody commits meanwhile.
    fn prune_some(&self, before: Timestamp) -> Result<u64, Error> {
        let _guard = self.lock_commits()?;
        self.backend
            .prune_events(before, PRUNED_AT_ONCE)
            .map_err(|error| self.on_write_error(error))
    }

    /// Waits until no thread commits, and keeps the others from it.
    pub(in crate::store) fn acquire(&self) -> CommitGuard<'_> {
        self.group_commit.acquire()
    }

    /// The turn to write something that is no commit, in a store that is open and knows what it holds.
    pub(in crate::store) fn lock_commits(&self) -> Result<CommitGuard<'_>, Error> {
        let guard = self.group_commit.acquire();
        if self.availability.is_recovering() {
            self.recover_locked(&guard)?;
        }
        self.check_open()?;
        Ok(guard)
    }

    /// What somebody is told who wrote something that is no commit. If its outcome is unknown, what
    /// the database holds is for recovery to say.
    pub(in crate::store) fn on_write_error(&self, error: BackendError) -> Error {
        if error.kind() == BackendErrorKind::OutcomeUnknown {
            self.mark_indeterminate(&self.lock_applied_log(), &[]);
        }
        error.into()
    }

    /// Puts one written record into the index.
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

/// Whether pruning that removed so many at once has left nothing to remove.
fn is_last(some: u64) -> bool {
    some < PRUNED_AT_ONCE as u64
}

/// A batch handed to the backend: if that panics, or a clock of the service's while the batch is put
/// into force, what became of it is unknown.
struct UnsettledBatch<'a> {
    engine: &'a Engine,
    batch: &'a [Change],
    is_settled: bool,
}

impl Drop for UnsettledBatch<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.engine.availability.set_recovering(true);
            let mut indeterminate =
                self.engine.indeterminate.lock().unwrap_or_else(PoisonError::into_inner);
            self.batch
                .iter()
                .for_each(|change| indeterminate.merge(AffectedRecords::by_change(change)));
            drop(indeterminate);
            // The thread waits for the commit guard, which this thread still holds.
            self.engine.recovery.wake();
        }
    }
}
