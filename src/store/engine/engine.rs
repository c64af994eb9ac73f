//! The engine: makes a change durable, then publishes it in the index.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::affected::{AffectedRecords, binds_sweep, written_metadata};
use super::group_commit::{CommitGuard, GroupCommit, Outcome};
use super::key_purging::KeyPurge;
use super::pruning::Retention;
use super::readings::Readings;
use super::records::{AppliedLog, Records};
use super::recovery::{Recovery, is_rules_changed};
use super::worker::Signal;
use crate::backend::{
    Applied, BackendError, BackendErrorKind, Change, DamagedRecord, Operation, Rejection, Repaired,
    Sharing, Write,
};
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::store::index::Made;
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// Number of events that one step of pruning deletes. A step takes a few milliseconds on a disk,
/// and other threads commit between two steps.
const PRUNE_STEP: usize = 512;

/// The time for which a key must have been expired before it may lapse.
const LAPSE_AFTER: Duration = Duration::from_secs(5 * 60);

/// The part of a store that makes a change durable, and publishes it.
#[derive(Debug)]
pub(in crate::store) struct Engine {
    pub(in crate::store) records: Arc<Records>,
    recovery: Recovery,
    group_commit: GroupCommit,
    retention: Retention,
    key_retention: Retention,
    key_purge: KeyPurge,
    /// The readings of the keys of large owners that changed.
    pub(super) readings: Readings,
}

impl Engine {
    pub(in crate::store) fn new(
        records: Arc<Records>,
        retention: Retention,
        key_retention: Retention,
    ) -> Self {
        let recovery = Recovery::new(&records);
        Self {
            records,
            recovery,
            group_commit: GroupCommit::default(),
            retention,
            key_retention,
            key_purge: KeyPurge::default(),
            readings: Readings::default(),
        }
    }

    /// Returns the signal that wakes the recovery thread.
    pub(in crate::store) fn recovery_signal(&self) -> &Arc<Signal> {
        self.recovery.signal()
    }

    /// Finds out what became of writes of unknown outcome, and publishes their records. Does
    /// nothing if there are none.
    pub(in crate::store) fn recover(&self) -> Result<(), Error> {
        self.check_process()?;
        self.recovery.run(&self.group_commit.acquire())
    }

    /// The same with the backend's own error, for the thread's health.
    pub(in crate::store) fn attempt_recovery(&self) -> Result<(), Error> {
        self.recovery.attempt(&self.group_commit.acquire())
    }

    /// Commits a change, lets `answer` read what it needs of the outcome, and then removes what is
    /// old, if that is due: perhaps the very key that the answer is about. When this returns, the
    /// next verification sees the change.
    pub(in crate::store) fn commit_and<T>(
        &self,
        change: Change,
        answer: impl FnOnce(Result<Applied, Rejection>) -> T,
    ) -> Result<T, Error> {
        self.records.check_open()?;
        self.expect_room(&change)?;
        let owners = replaced_owners(&change);
        let outcome = self.commit_alone(change)?;
        if outcome.is_ok() {
            owners.iter().for_each(|owner| _ = self.settle_owner(owner));
        }
        let answer = answer(outcome);
        self.prune_if_due();
        self.purge_if_due();
        Ok(answer)
    }

    /// Returns an error for a change that the index has no room for. What can't be shown must not be
    /// committed: it would be in force nowhere, and stop all later changes until the index has room.
    /// A piece of a sweep shows nothing new.
    pub(in crate::store) fn expect_room(&self, change: &Change) -> Result<(), Error> {
        self.records.index.expect_room(change).map_err(Error::IndexFull)
    }

    /// Commits changes that don't depend on each other in one durable write, once the callers that
    /// wait have had their turn. None of them replaces an owner, and there is room for each. Lets
    /// `answer` read what it needs of their outcomes, and then removes what is old, if that is due.
    pub(in crate::store) fn commit_each<T>(
        &self,
        changes: &[Change],
        answer: impl FnOnce(Vec<Result<Applied, Rejection>>) -> T,
    ) -> Result<T, Error> {
        if changes.is_empty() {
            self.await_published()?;
            return Ok(answer(Vec::new()));
        }
        let outcomes = self.commit_batch(&self.lock_commits()?, changes)?;
        let answer = answer(outcomes);
        self.prune_if_due();
        self.purge_if_due();
        Ok(answer)
    }

    /// Commits a change, and removes nothing that is old.
    pub(super) fn commit_alone(&self, change: Change) -> Outcome {
        self.records.check_open()?;
        let commit = |guard: &CommitGuard<'_>, batch: &[Change]| self.commit_batch(guard, batch);
        self.group_commit.commit(change, commit)
    }

    /// Commits a change.
    pub(in crate::store) fn commit(
        &self,
        change: Change,
    ) -> Result<Result<Applied, Rejection>, Error> {
        self.commit_and(change, |outcome| outcome)
    }

    /// Returns the moment by which a key must have expired if a change may take its place or name
    /// now. `None` while wall time is known to be ahead, and in the first minutes of all time.
    pub(in crate::store) fn lapse_expired_by(&self, now: Timestamp) -> Option<Timestamp> {
        let by = now.saturating_sub(LAPSE_AFTER);
        let is_right = self.records.clock_watch.ahead().is_none();
        (is_right && now.since(by) == LAPSE_AFTER).then_some(by)
    }

    /// Prunes some events if pruning is due. The next commit prunes more if there are
    /// more. If pruning fails, the next due time tries again.
    pub(in crate::store) fn prune_if_due(&self) {
        if let Some(before) = self.retention.due(&self.records.clock_watch)
            && self.prune_step(before).is_ok_and(|count| !is_last_step(count))
        {
            self.retention.set_due();
        }
    }

    /// Purges some keys that ended long ago, if that is due. The next commit goes on if there may be
    /// more. If it fails, the next due time tries again at the same place.
    fn purge_if_due(&self) {
        if let Some(before) = self.key_retention.due(&self.records.clock_watch)
            && self.purge_step(before).is_ok_and(|goes_on| goes_on)
        {
            self.key_retention.set_due();
        }
    }

    /// Purges some keys, once the callers that wait to commit have had their turn. Returns whether
    /// there may be more.
    fn purge_step(&self, before: Timestamp) -> Result<bool, Error> {
        self.key_purge.step(&self.records, before, |changes| {
            let guard = self.group_commit.acquire();
            self.commit_batch(&guard, changes).map(drop)
        })
    }

    /// Commits a batch in one durable write, and publishes it.
    fn commit_batch(
        &self,
        guard: &CommitGuard<'_>,
        batch: &[Change],
    ) -> Result<Vec<Result<Applied, Rejection>>, Error> {
        if self.records.availability.is_recovering() {
            self.recovery.run(guard)?;
        }
        self.records.check_open()?;
        // Held over the commit of metadata: otherwise the refresh thread could read the new rules
        // before this process knows them, and take them for another process's change.
        let changes_metadata = |change: &Change| AffectedRecords::of_change(change).metadata;
        let held_log = batch.iter().any(changes_metadata).then(|| self.records.lock_applied_log());
        let mut unsettled = UnsettledBatch { engine: self, batch, is_settled: false };
        let outcome = self.records.backend.commit(batch);
        let applied_log = held_log.unwrap_or_else(|| self.records.lock_applied_log());
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
                self.recovery.mark_indeterminate(&applied_log, batch);
                let kind = BackendErrorKind::OutcomeUnknown;
                Err(BackendError::new(kind, self.records.backend.name(), "commit").into())
            }
            Err(error) => {
                if error.kind() == BackendErrorKind::OutcomeUnknown {
                    self.recovery.mark_indeterminate(&applied_log, batch);
                }
                self.records.note_foreign_writer(&error);
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
        let applied: Vec<_> = applied.collect();
        for (change, applied) in &applied {
            if let Some(operation) = change.operations.last() {
                self.records.note_event(applied.last_event, operation.event.at);
            }
            if change.operations.iter().any(|operation| binds_sweep(&operation.write)) {
                self.records.sweep_signal.wake();
            }
        }
        let mut unpublished = Vec::new();
        if self.is_exclusive() {
            for (change, applied) in applied {
                applied_log.applied_seq = applied.last_event;
                if self.publish_own(change, applied).is_err() {
                    unpublished.push(change.clone());
                }
            }
        } else {
            let changes: Vec<&Change> = applied.iter().map(|(change, _)| *change).collect();
            let published = self.publish_log(&changes, &mut applied_log);
            // With other rules than its own the store answers nothing, so none is in doubt.
            if published.is_err_and(|error| !is_rules_changed(&error)) {
                unpublished.extend(changes.into_iter().cloned());
            }
        }
        if !unpublished.is_empty() {
            // These are committed but the index still holds the old records, which must not answer.
            self.recovery.mark_indeterminate(&applied_log, &unpublished);
        }
    }

    /// Publishes the records that a change has written. No other process changes any.
    fn publish_own(&self, change: &Change, applied: &Applied) -> Result<(), Error> {
        change.operations.iter().try_for_each(|operation| self.put_operation(operation))?;
        self.records.note_numeric_ids(change, applied);
        self.records.reload(&AffectedRecords::lapsed(applied), Made::Here)
    }

    /// Publishes changes with all that other processes committed before: a record of a change may rest on
    /// that, as a key that is unblocked rests on its owner's suspension, or a new owner on the purge of
    /// an earlier one of its id.
    fn publish_log(&self, changes: &[&Change], applied_log: &mut AppliedLog) -> Result<(), Error> {
        for metadata in changes.iter().flat_map(|change| written_metadata(change)) {
            // Before the log, which takes rules that this process doesn't know for another one's.
            self.records.put_metadata(metadata)?;
        }
        self.records.catch_up(applied_log)
    }

    fn is_exclusive(&self) -> bool {
        matches!(self.records.backend.sharing(), Sharing::Exclusive)
    }

    /// Waits until all holds here that was committed before, by whichever caller or process. A call that
    /// finds its change made does so before it says so.
    pub(in crate::store) fn await_published(&self) -> Result<(), Error> {
        // Who committed it holds the guard until the index knows of it.
        let _guard = self.lock_commits()?;
        if self.is_exclusive() {
            return Ok(());
        }
        self.records.catch_up(&mut self.records.lock_applied_log())
    }

    /// The same of an owner, whose change holds for each of its keys when this returns.
    pub(in crate::store) fn await_owner(&self, owner: &OwnerId) -> Result<(), Error> {
        self.await_published()?;
        let _ = self.settle_owner(owner);
        Ok(())
    }

    /// Waits until the slots of an owner's keys are as its record says. If they can't be now, the
    /// store can't answer for the owner until they are.
    fn settle_owner(&self, owner: &OwnerId) -> Result<(), Error> {
        self.readings.settle(&self.records, owner, || self.lock_commits())
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

    /// Deletes some of the events older than `before`. Holds the commit guard: the backend takes
    /// one write at a time.
    fn prune_step(&self, before: Timestamp) -> Result<u64, Error> {
        let _guard = self.lock_commits()?;
        self.records
            .backend
            .prune_events(before, PRUNE_STEP)
            .map_err(|error| self.on_write_error(error))
    }

    /// Returns an error in a child of the process that opened the store. Called before a lock is
    /// acquired, which a thread of the parent may have held at the fork.
    pub(in crate::store) fn check_process(&self) -> Result<(), Error> {
        if self.records.availability.is_forked() {
            return Err(Unavailable::Forked.into());
        }
        Ok(())
    }

    /// Waits until no thread commits, and keeps other threads from committing until the guard is
    /// dropped.
    pub(in crate::store) fn acquire(&self) -> CommitGuard<'_> {
        self.group_commit.acquire()
    }

    /// Acquires the commit guard for a write that isn't a commit. Recovers first where that is due,
    /// and returns an error if the store isn't open.
    pub(in crate::store) fn lock_commits(&self) -> Result<CommitGuard<'_>, Error> {
        self.check_process()?;
        let guard = self.group_commit.acquire();
        if self.records.availability.is_recovering() {
            self.recovery.run(&guard)?;
        }
        self.records.check_open()?;
        Ok(guard)
    }

    /// Maps the error of a write that isn't a commit. If its outcome is unknown, starts recovery.
    pub(in crate::store) fn on_write_error(&self, error: BackendError) -> Error {
        if error.kind() == BackendErrorKind::OutcomeUnknown {
            self.recovery.mark_indeterminate(&self.records.lock_applied_log(), &[]);
        }
        self.records.note_foreign_writer(&error);
        error.into()
    }

    /// Repairs the database, and reads all records again: health then names what is left.
    pub(in crate::store) fn repair(&self) -> Result<Repaired, Error> {
        let _guard = self.lock_commits()?;
        let repaired = self.records.backend.repair(self.records.now());
        let repaired = repaired.map_err(|error| self.on_write_error(error))?;
        let _applied_log = self.records.lock_applied_log();
        let all = AffectedRecords { all: true, ..AffectedRecords::default() };
        self.records.reload(&all, Made::Here)?;
        Ok(repaired)
    }

    /// Puts the record that an operation wrote into the index.
    fn put_operation(&self, operation: &Operation) -> Result<(), Error> {
        match &operation.write {
            Write::CreateKey(create) => self.records.put_key(&create.record),
            Write::ReplaceKey(key) | Write::GrantKeyUses(key, _) => self.records.put_key(key),
            Write::CreateOwner(owner)
            | Write::ReplaceOwner(owner)
            | Write::RevokeKeys(owner)
            | Write::GrantOwnerUses(owner, _) => self.records.put_owner(owner, Made::Here),
            Write::RemoveKey(id, _) => match &operation.event.owner {
                Some(owner) => self.records.remove_key(*id, owner),
                None => Ok(()),
            },
            Write::RemoveOwner(id, _) | Write::PurgeOwner(id, _) => {
                self.records.damages.forget_owner(DamagedRecord::Owner(*id));
                self.records.remove_owner(id);
                Ok(())
            }
            Write::CreateMetadata(metadata) | Write::ReplaceMetadata(metadata) => {
                self.records.put_metadata(metadata)
            }
            Write::Quarantine(_) | Write::RemoveDamagedKey(_) => {
                self.records.reload(&AffectedRecords::of_event(&operation.event), Made::Here)
            }
            Write::SweepKey(id, _) => {
                self.records.forget_swept(*id, operation.event.kind);
                Ok(())
            }
            Write::Nothing | Write::RecordAlert(..) | Write::EndSweep(_) => Ok(()),
        }
    }
}

/// Returns the owners that a change replaces.
fn replaced_owners(change: &Change) -> Vec<OwnerId> {
    let replaced = change.operations.iter().filter_map(|operation| match &operation.write {
        Write::ReplaceOwner(owner) | Write::RevokeKeys(owner) => Some(owner.id),
        _ => None,
    });
    replaced.collect()
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
            self.engine.recovery.mark_unsettled(self.batch);
        }
    }
}
