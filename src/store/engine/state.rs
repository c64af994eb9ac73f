//! What all calls share: backend, clock, randomness, index and metadata, and the way from a change
//! to its acknowledgement.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::affected::AffectedRecords;
use super::availability::Availability;
use super::group_commit::{CommitGuard, GroupCommit};
use super::prefixes::AcceptedPrefixes;
use super::pruning::Retention;
use super::worker::Stop;
use crate::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, Operation, Rejection, Sharing, Write,
};
use crate::clock::{Clock, Timestamp};
use crate::id::{KeyId, KeyIdSource};
use crate::key::{Prefix, StoreMetadata};
use crate::permission::Catalogue;
use crate::store::alerts::Alerts;
use crate::store::index::Index;
use crate::store::types::error::{Error, Unavailable};
use crate::store::types::settings_check::SettingsCheck;
use crate::store::usage::Collector;
use crate::store::verify::quota_leases::Leases;
#[cfg(feature = "recoverable")]
use crate::token::RecoveryKeys;
use crate::token::{Peppers, RandomError, RandomSource, fill};

/// How often an id is drawn for a new key. By chance, a second time is needed once in millions of
/// creations.
const MAX_DRAWS: usize = 64;

/// How many events are pruned before others get their turn: on a disk, a few milliseconds' work.
const PRUNED_AT_ONCE: usize = 512;

/// The inside of a store.
#[derive(Debug)]
pub(in crate::store) struct Core {
    pub(in crate::store) backend: Arc<dyn Backend>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) index: Index,
    pub(in crate::store) availability: Availability,
    pub(in crate::store) peppers: Peppers,
    pub(in crate::store) prefixes: AcceptedPrefixes,
    pub(in crate::store) settings_check: Option<Box<dyn SettingsCheck>>,
    #[cfg(feature = "recoverable")]
    pub(in crate::store) recovery_keys: Option<RecoveryKeys>,
    pub(in crate::store) retention: Retention,
    pub(in crate::store) alerts: Alerts,
    pub(in crate::store) group_commit: GroupCommit,
    pub(in crate::store) leases: Leases,
    /// None where the service doesn't want to know.
    pub(in crate::store) usage: Option<Arc<Collector>>,
    pub(in crate::store) stop: Arc<Stop>,
    pub(in crate::store) metadata: RwLock<MetadataState>,
    pub(in crate::store) ids: Mutex<KeyIdSource>,
    pub(in crate::store) random: Mutex<Box<dyn RandomSource>>,
    /// What changes of unknown outcome were about.
    pub(in crate::store) indeterminate: Mutex<AffectedRecords>,
    /// Held while records are read from the backend and put into the index, so that an older
    /// reading never overwrites a newer one.
    pub(in crate::store) applied_log: Mutex<AppliedLog>,
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

impl Core {
    pub(in crate::store) fn catalogue(&self) -> &Catalogue {
        self.index.catalogue()
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(in crate::store) fn metadata(&self) -> MetadataState {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses management calls on a closed store, and on one whose rules were changed elsewhere.
    pub(in crate::store) fn check_open(&self) -> Result<(), Error> {
        match self.availability.unavailable() {
            Some(closed @ (Unavailable::Closed | Unavailable::RulesChanged)) => Err(closed.into()),
            _ => Ok(()),
        }
    }

    pub(in crate::store) fn random(&self) -> MutexGuard<'_, Box<dyn RandomSource>> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new key id, whose tag no other key shares.
    pub(in crate::store) fn new_key_id(&self, now: Timestamp) -> Result<KeyId, RandomError> {
        for _ in 0..MAX_DRAWS {
            let drawn = fill(self.random().as_mut())?;
            let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).next(now, drawn);
            if !self.index.has_hash(id) {
                return Ok(id);
            }
        }
        Err(RandomError::repeats_itself())
    }

    /// Commits a change; what it did is in force for the next verification when this returns.
    pub(in crate::store) fn commit(
        self: &Arc<Self>,
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
    pub(in crate::store) fn prune_if_due(self: &Arc<Self>) {
        if let Some(before) = self.retention.due(self.now())
            && self.prune_some(before).is_ok_and(|some| !is_last(some))
        {
            self.retention.go_on();
        }
    }

    /// One durable commit_batch for all of a batch.
    fn commit_batch(
        self: &Arc<Self>,
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
        let mut unsettled = UnsettledBatch { core: self, batch, is_settled: false };
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
        self: &Arc<Self>,
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
    pub(in crate::store) fn prune(self: &Arc<Self>, before: Timestamp) -> Result<u64, Error> {
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
    fn prune_some(self: &Arc<Self>, before: Timestamp) -> Result<u64, Error> {
        let _guard = self.lock_commits()?;
        self.backend
            .prune_events(before, PRUNED_AT_ONCE)
            .map_err(|error| self.on_write_error(error))
    }

    /// The turn to write something that is no commit, in a store that is open and knows what it holds.
    pub(in crate::store) fn lock_commits(self: &Arc<Self>) -> Result<CommitGuard<'_>, Error> {
        let guard = self.group_commit.acquire();
        if self.availability.is_recovering() {
            self.recover_locked(&guard)?;
        }
        self.check_open()?;
        Ok(guard)
    }

    /// What somebody is told who wrote something that is no commit. If its outcome is unknown, what
    /// the database holds is for recovery to say.
    pub(in crate::store) fn on_write_error(self: &Arc<Self>, error: BackendError) -> Error {
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
    core: &'a Arc<Core>,
    batch: &'a [Change],
    is_settled: bool,
}

impl Drop for UnsettledBatch<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.core.availability.set_recovering(true);
            let mut indeterminate =
                self.core.indeterminate.lock().unwrap_or_else(PoisonError::into_inner);
            self.batch
                .iter()
                .for_each(|change| indeterminate.merge(AffectedRecords::by_change(change)));
            drop(indeterminate);
            // It waits until nobody leads any more.
            self.core.keep_recovering();
        }
    }
}
