//! Recovery from a write of unknown outcome: marking its records, and finding out what became of it.

use std::mem;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::affected::AffectedRecords;
use super::engine::{AppliedLog, Engine};
use super::group_commit::CommitGuard;
use super::worker::Next;
use crate::backend::Change;
use crate::store::types::error::{Error, Unavailable};

/// Pause after the first attempt of the recovery thread that fails; doubled after each later one.
pub(in crate::store) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// Marks all records of a batch as indeterminate, and wakes the recovery thread. `verify` answers
    /// `Unavailable` for them until recovery has found out what became of the batch. The caller holds
    /// the applied log: otherwise a thread could publish an older reading of the records and clear
    /// the mark.
    pub(in crate::store) fn mark_indeterminate(
        &self,
        _applied_log: &MutexGuard<'_, AppliedLog>,
        batch: &[Change],
    ) {
        let mut affected = AffectedRecords::default();
        batch.iter().for_each(|change| affected.merge(AffectedRecords::of_change(change)));
        self.note_indeterminate(affected);
        self.recovery.wake();
    }

    /// Tries to recover, on the recovery thread; returns when to try again.
    pub(in crate::store) fn try_to_recover(&self, pause: &mut Duration) -> Next {
        match self.recover() {
            // A missing pepper can't be added while the store is open.
            Ok(()) | Err(Error::Pepper { .. } | Error::Unavailable(Unavailable::Closed)) => {
                *pause = FIRST_PAUSE;
                Next::WhenWoken
            }
            Err(_) => {
                let now = *pause;
                *pause = (now * 2).min(LONGEST_PAUSE);
                Next::After(now)
            }
        }
    }

    /// Marks records as indeterminate, in the index and for the next recovery.
    fn note_indeterminate(&self, affected: AffectedRecords) {
        for owner in &affected.owners {
            self.index.mark_owner_indeterminate(owner);
        }
        for (key, owner) in &affected.keys {
            self.index.mark_key_indeterminate(*key, owner);
        }
        self.availability.set_recovering(affected.metadata);
        self.indeterminate.lock().unwrap_or_else(PoisonError::into_inner).merge(affected);
    }

    /// Finds out what became of writes of unknown outcome, and publishes their records. Does nothing
    /// if there are none.
    pub(in crate::store) fn recover(&self) -> Result<(), Error> {
        let guard = self.group_commit.acquire();
        self.recover_locked(&guard)
    }

    /// Does the same as `recover`, for a thread that holds the commit guard already.
    pub(in crate::store) fn recover_locked(&self, _guard: &CommitGuard<'_>) -> Result<(), Error> {
        if !self.availability.is_recovering() {
            return Ok(());
        }
        if self.availability.unavailable() == Some(Unavailable::Closed) {
            return Err(Unavailable::Closed.into());
        }
        loop {
            let in_doubt_epoch = self.availability.in_doubt_epoch();
            self.backend.recover().map_err(|_| Error::Unavailable(Unavailable::Recovering))?;
            let _applied_log = self.lock_applied_log();
            let affected = {
                let mut indeterminate =
                    self.indeterminate.lock().unwrap_or_else(PoisonError::into_inner);
                mem::take(&mut *indeterminate)
            };
            if let Err(error) = self.reload(&affected) {
                self.note_indeterminate(affected);
                return Err(error);
            }
            // Leases are written without the commit guard, so one may have failed meanwhile.
            if self.availability.in_doubt_epoch() == in_doubt_epoch {
                self.availability.set_recovered();
                return Ok(());
            }
        }
    }
}
