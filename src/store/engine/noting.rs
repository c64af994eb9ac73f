//! The store's own layer around its backend, which notes how writes end.

use std::sync::Arc;

use super::outcomes::Outcomes;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, UsageChange,
    UsageOutcome,
};
use crate::clock::{Clock, Timestamp};
use crate::store::types::health::WorkHealth;

/// A backend that notes when a write last succeeded, and the last error of one.
#[derive(Debug)]
pub(super) struct NotingBackend {
    inner: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    writes: Arc<Outcomes>,
}

/// The writes that a [`NotingBackend`] has noted.
#[derive(Debug)]
pub(in crate::store) struct NotedWrites(Arc<Outcomes>);

impl NotingBackend {
    pub(super) fn new(inner: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> (Self, NotedWrites) {
        let writes = Arc::<Outcomes>::default();
        let noted = NotedWrites(Arc::clone(&writes));
        (Self { inner, clock, writes }, noted)
    }

    /// Writes, and notes the end if it counts: a success in which nothing was to be written doesn't.
    fn note<T>(
        &self,
        write: impl FnOnce() -> Result<T, BackendError>,
        counts: impl FnOnce(&Result<T, BackendError>) -> bool,
    ) -> Result<T, BackendError> {
        // Before the write: if the service's clock panics, nothing has happened.
        let at = self.clock.now();
        let outcome = write();
        if counts(&outcome) {
            match &outcome {
                Ok(_) => self.writes.note(&Ok(()), at),
                // A database that was opened to look at is well without writes.
                Err(_) if self.inner.is_read_only() => {}
                Err(error) => self.writes.note(&Err(error.clone().into()), at),
            }
        }
        outcome
    }
}

impl NotedWrites {
    pub(super) fn health(&self) -> WorkHealth {
        self.0.health()
    }
}

impl BackendLayer for NotingBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let is_any_applied = |outcome: &CommitOutcome| outcome.iter().any(Result::is_ok);
        let counts = |outcome: &Result<_, _>| outcome.as_ref().map_or(true, is_any_applied);
        self.note(|| self.inner.commit(batch), counts)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        let counts = |outcome: &Result<_, _>| outcome.as_ref().map_or(true, |count| *count > 0);
        self.note(|| self.inner.prune_events(before, limit), counts)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        let is_brief = batch.iter().any(UsageChange::is_brief);
        // The thread that fetches leases says in its own health if that goes on.
        let counts = |outcome: &Result<_, BackendError>| match outcome {
            Ok(_) => !batch.is_empty(),
            Err(error) => !is_brief || error.kind() != BackendErrorKind::TimedOut,
        };
        self.note(|| self.inner.record_usage(batch), counts)
    }
}
