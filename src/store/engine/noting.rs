//! The store's own layer around its backend, which notes how writes end.

use std::sync::Arc;

use super::outcomes::Outcomes;
use crate::backend::{
    Backend, BackendError, BackendLayer, Change, CommitOutcome, UsageChange, UsageOutcome,
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

    /// Writes, and notes the end. A success in which nothing was to be written isn't noted.
    fn note<T>(
        &self,
        write: impl FnOnce() -> Result<T, BackendError>,
        has_written: impl FnOnce(&T) -> bool,
    ) -> Result<T, BackendError> {
        // Before the write: if the service's clock panics, nothing has happened.
        let at = self.clock.now();
        let outcome = write();
        match &outcome {
            Ok(done) if has_written(done) => self.writes.note(&Ok(()), at),
            Ok(_) => {}
            // A database that was opened to look at is well without writes.
            Err(_) if self.inner.is_read_only() => {}
            Err(error) => self.writes.note(&Err(error.clone().into()), at),
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
        self.note(|| self.inner.commit(batch), is_any_applied)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.note(|| self.inner.prune_events(before, limit), |count| *count > 0)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.note(|| self.inner.record_usage(batch), |_| !batch.is_empty())
    }
}
