//! Recovery from a write of unknown outcome: marking its records, and finding out what became of
//! it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::affected::AffectedRecords;
use super::group_commit::CommitGuard;
use super::records::{AppliedLog, Records};
use super::worker::{Next, Signal, Worked};
use crate::backend::{Change, Sharing};
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// Pause after the first attempt of the recovery thread that fails; doubled after each later one.
pub(in crate::store) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The records of writes of unknown outcome, and the way to find out.
#[derive(Debug)]
pub(super) struct Recovery {
    records: Arc<Records>,
    /// The records of changes whose outcome is unknown. Locked, since threads add to it while
    /// recovery takes it. Without the lock a record could be lost, and stay indeterminate for ever.
    indeterminate: Mutex<AffectedRecords>,
    signal: Arc<Signal>,
}

impl Recovery {
    pub(super) fn new(records: &Arc<Records>) -> Self {
        let records = Arc::clone(records);
        Self { records, indeterminate: Mutex::default(), signal: Arc::default() }
    }

    /// Returns the signal that wakes the recovery thread.
    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Marks all records of a batch as indeterminate, and wakes the recovery thread. `verify`
    /// answers
    /// `Unavailable` for them until recovery has found out what became of the batch. The caller holds
    /// the applied log: otherwise a thread could publish an older reading of the records and clear
    /// the mark.
    pub(super) fn mark_indeterminate(
        &self,
        _applied_log: &MutexGuard<'_, AppliedLog>,
        batch: &[Change],
    ) {
        let mut affected = AffectedRecords::default();
        batch.iter().for_each(|change| affected.merge(AffectedRecords::possible_of(change)));
        self.note_indeterminate(affected);
        self.signal.wake();
    }

    /// Marks a batch whose commit or publication has panicked. The index may be half changed, so
    /// every answer is `Unavailable` until recovery has run.
    pub(super) fn mark_unsettled(&self, batch: &[Change]) {
        self.records.availability.set_recovering(true);
        let mut indeterminate = self.lock();
        batch.iter().for_each(|change| indeterminate.merge(AffectedRecords::possible_of(change)));
        drop(indeterminate);
        // The recovery thread waits for the commit guard, which the panicking thread still holds.
        self.signal.wake();
    }

    /// Marks records as indeterminate, in the index and for the next recovery.
    fn note_indeterminate(&self, affected: AffectedRecords) {
        for owner in &affected.owners {
            self.records.index.mark_owner_indeterminate(owner);
        }
        for (key, owner) in &affected.keys {
            self.records.index.mark_key_indeterminate(*key, owner);
        }
        self.records.availability.set_recovering(affected.metadata || affected.all);
        self.lock().merge(affected);
    }

    /// Finds out what became of writes of unknown outcome, and publishes their records. Does
    /// nothing if there are none. While the backend can't recover, the caller hears `Unavailable`.
    pub(super) fn run(&self, guard: &CommitGuard<'_>) -> Result<(), Error> {
        self.attempt(guard).map_err(|error| match error {
            Error::Backend(_) | Error::OutcomeUnknown(_) => Unavailable::Recovering.into(),
            other => other,
        })
    }

    /// The same with the backend's own error, for the thread's health.
    pub(super) fn attempt(&self, _guard: &CommitGuard<'_>) -> Result<(), Error> {
        if !self.records.availability.is_recovering() {
            return Ok(());
        }
        if self.records.availability.unavailable() == Some(Unavailable::Closed) {
            return Err(Unavailable::Closed.into());
        }
        loop {
            let in_doubt_epoch = self.records.availability.in_doubt_epoch();
            self.records
                .backend
                .recover()
                .inspect_err(|error| self.records.note_foreign_writer(error))?;
            let mut applied_log = self.records.lock_applied_log();
            let mut affected = mem::take(&mut *self.lock());
            let reloaded = self.reload(&mut affected, &mut applied_log);
            // After others' new rules the store answers nothing, whatever became of the records. The
            // backend has recovered, so closing can write what was used.
            if let Err(error) = &reloaded
                && !is_rules_changed(error)
            {
                self.note_indeterminate(affected);
                return reloaded;
            }
            // Leases are written without the commit guard, so one may have failed meanwhile.
            if self.records.availability.in_doubt_epoch() == in_doubt_epoch {
                self.records.availability.set_recovered();
                // A change of unknown outcome may have bound a sweep.
                self.records.sweep_signal.wake();
                return reloaded;
            }
        }
    }

    /// Reads records of unknown state, after all that other processes committed before.
    fn reload(
        &self,
        affected: &mut AffectedRecords,
        applied_log: &mut AppliedLog,
    ) -> Result<(), Error> {
        if let Some(written) = &affected.written_metadata {
            let stored = self.records.stored_metadata()?;
            // Before the log, which takes rules that this process doesn't know for another one's.
            if stored == **written {
                self.records.put_metadata(&stored)?;
            }
        }
        if matches!(self.records.backend.sharing(), Sharing::Shared { .. }) {
            self.records.catch_up(applied_log)?;
            // The log has told of them, and of their successors' keys.
            affected.replaced.clear();
        }
        for owner in &affected.replaced {
            // Whether the purge took effect isn't known: its keys may be live.
            self.records.reload_owner_as(owner, false, true)?;
        }
        affected.replaced.clear();
        self.records.reload_and_catch_up(affected, applied_log)
    }

    fn lock(&self) -> MutexGuard<'_, AffectedRecords> {
        self.indeterminate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether another process has changed the rules: this one can't follow until it is opened again.
pub(super) fn is_rules_changed(error: &Error) -> bool {
    matches!(error, Error::Unavailable(Unavailable::RulesChanged))
}

/// Returns when the recovery thread tries again, after an attempt with this result.
pub(in crate::store) fn next_attempt(result: Result<(), Error>, pause: &mut Duration) -> Worked {
    let next = match &result {
        // No pepper is added, and no other rules are taken, while the store is open.
        Ok(())
        | Err(
            Error::Pepper { .. }
            | Error::Unavailable(Unavailable::Closed | Unavailable::RulesChanged),
        ) => {
            *pause = FIRST_PAUSE;
            Next::WhenWoken
        }
        Err(_) => {
            let now = *pause;
            *pause = (now * 2).min(LONGEST_PAUSE);
            Next::After(now)
        }
    };
    Worked::with(result, next)
}
