//! After a change of unknown outcome: what may be answered meanwhile, and finding out.

use std::mem;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::background;
use super::commit::Lead;
use super::core::{Applying, Core};
use super::error::{Error, Unavailable};
use super::touched::Touched;
use crate::backend::Change;

/// How long the store waits between two tries of its own: this, doubled each time …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Core {
    /// Answers `Unavailable` for all that a batch was about, until it is known what became of it,
    /// and has it looked into. The caller holds `applying`, so that nothing is put into the index
    /// meanwhile that was read before.
    pub(super) fn suspend_judgement(
        self: &Arc<Self>,
        _applying: &MutexGuard<'_, Applying>,
        batch: &[Change],
    ) {
        let mut touched = Touched::default();
        batch.iter().for_each(|change| touched.merge(Touched::by_change(change)));
        let was_recovering = self.gate.is_recovering();
        self.note_uncertain(touched);
        if !was_recovering {
            self.keep_recovering();
        }
    }

    /// Tries to recover until that succeeds.
    pub(super) fn keep_recovering(self: &Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        // If no thread can be had, whoever commits next recovers first.
        let _ = background::spawn("keyhasp-recover", self, move |core| {
            if !core.gate.is_recovering() {
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

    fn note_uncertain(&self, touched: Touched) {
        for owner in &touched.owners {
            self.index.mark_owner_uncertain(owner);
        }
        for (key, owner) in &touched.keys {
            self.index.mark_key_uncertain(*key, owner);
        }
        self.gate.set_recovering(touched.header);
        self.uncertain.lock().unwrap_or_else(PoisonError::into_inner).merge(touched);
    }

    /// Finds out what became of changes of unknown outcome. Does nothing if there are none.
    pub(super) fn recover(self: &Arc<Self>) -> Result<(), Error> {
        let lead = self.committer.pause();
        self.recover_led(&lead)
    }

    /// The same for whoever leads the commits.
    pub(super) fn recover_led(self: &Arc<Self>, _lead: &Lead<'_>) -> Result<(), Error> {
        if !self.gate.is_recovering() {
            return Ok(());
        }
        if self.gate.unavailable() == Some(Unavailable::Closed) {
            return Err(Unavailable::Closed.into());
        }
        loop {
            let doubts = self.gate.doubts();
            self.backend.recover().map_err(|_| Error::Unavailable(Unavailable::Recovering))?;
            let _applying = self.lock_applying();
            let touched = {
                let mut uncertain = self.uncertain.lock().unwrap_or_else(PoisonError::into_inner);
                mem::take(&mut *uncertain)
            };
            if let Err(error) = self.reload(&touched) {
                self.note_uncertain(touched);
                return Err(error);
            }
            // A lease that was asked for before may have failed meanwhile, without the lead.
            if self.gate.doubts() == doubts {
                self.gate.set_recovered();
                return Ok(());
            }
        }
    }
}
