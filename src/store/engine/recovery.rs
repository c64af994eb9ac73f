//! After a change of unknown outcome: what may be answered meanwhile, and finding out.

use std::mem;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::affected::AffectedRecords;
use super::group_commit::CommitGuard;
use super::state::{AppliedLog, Core};
use super::worker;
use crate::backend::Change;
use crate::store::types::error::{Error, Unavailable};

/// How long the store waits between two tries of its own: this, doubled each time …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Core {
    /// Answers `Unavailable` for all that a batch was about, until it is known what became of it,
    /// and has it looked into. The caller holds `applied_log`, so that nothing is put into the index
    /// meanwhile that was read before.
    pub(in crate::store) fn mark_indeterminate(
        self: &Arc<Self>,
        _applying: &MutexGuard<'_, AppliedLog>,
        batch: &[Change],
    ) {
        let mut affected = AffectedRecords::default();
        batch.iter().for_each(|change| affected.merge(AffectedRecords::by_change(change)));
        let was_recovering = self.availability.is_recovering();
        self.note_indeterminate(affected);
        if !was_recovering {
            self.keep_recovering();
        }
    }

    /// Tries to recover until that succeeds.
    pub(in crate::store) fn keep_recovering(self: &Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        // If no thread can be had, whoever commits next recovers first.
        let _ = worker::spawn("keyhasp-recover", self, move |core| {
            if !core.availability.is_recovering() {
                return None;
            }
            // Where a pepper is missing, only opening anew helps.
            if let Ok(()) | Err(Error::Pepper { .. }) = core.recover() {
                return None;
            }
            let now = pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            Some(now)
        });
    }

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

    /// Finds out what became of changes of unknown outcome. Does nothing if there are none.
    pub(in crate::store) fn recover(self: &Arc<Self>) -> Result<(), Error> {
        let guard = self.group_commit.acquire();
        self.recover_locked(&guard)
    }

    /// The same for whoever leads the commits.
    pub(in crate::store) fn recover_locked(
        self: &Arc<Self>,
        _guard: &CommitGuard<'_>,
    ) -> Result<(), Error> {
        if !self.availability.is_recovering() {
            return Ok(());
        }
        if self.availability.unavailable() == Some(Unavailable::Closed) {
            return Err(Unavailable::Closed.into());
        }
        loop {
            let in_doubt_epoch = self.availability.in_doubt_epoch();
            self.backend.recover().map_err(|_| Error::Unavailable(Unavailable::Recovering))?;
            let _applying = self.lock_applied_log();
            let affected = {
                let mut indeterminate =
                    self.indeterminate.lock().unwrap_or_else(PoisonError::into_inner);
                mem::take(&mut *indeterminate)
            };
            if let Err(error) = self.reload(&affected) {
                self.note_indeterminate(affected);
                return Err(error);
            }
            // A lease that was asked for before may have failed meanwhile, without the guard.
            if self.availability.in_doubt_epoch() == in_doubt_epoch {
                self.availability.set_recovered();
                return Ok(());
            }
        }
    }
}
