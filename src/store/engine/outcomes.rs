//! The last results of work that is done again and again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::store::types::error::Error;
use crate::store::types::health::{HealthError, HealthErrorKind, WorkHealth};

/// The last success and the last error of repeated work.
///
/// Locked, since one thread works while another asks for its health. Without the lock a reader
/// could see the time of one result with the error of another.
#[derive(Debug, Default)]
pub(in crate::store) struct Outcomes(Mutex<WorkHealth>);

impl Outcomes {
    pub(super) fn note(&self, result: &Result<(), Error>, at: Timestamp) {
        match result {
            Ok(()) => {
                let mut health = self.lock();
                health.last_success = Some(at);
                health.is_failing = false;
            }
            Err(error) => self.fail(at, HealthErrorKind::of(error), error.to_string()),
        }
    }

    pub(super) fn note_panic(&self, at: Timestamp) {
        // The panic's own message may hold anything.
        let text = "the work panicked; the process's panic hook has the message";
        self.fail(at, HealthErrorKind::Panic, text.into());
    }

    pub(super) fn health(&self) -> WorkHealth {
        self.lock().clone()
    }

    fn fail(&self, at: Timestamp, kind: HealthErrorKind, text: String) {
        let mut health = self.lock();
        health.last_error = Some(HealthError { at, kind, text });
        health.is_failing = true;
    }

    fn lock(&self) -> MutexGuard<'_, WorkHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
