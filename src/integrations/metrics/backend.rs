//! Metrics of a backend's commits.

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Histogram, counter, histogram};

use super::names;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome,
};
use crate::clock::{Clock, SystemClock};

/// A backend around another one that measures each commit: its duration, and the number of callers'
/// changes that it joined.
///
/// ```
/// # use keyhasp::integrations::metrics::MeasuredBackend;
/// # use keyhasp::{Catalogue, Prefix, Store, backend::Memory};
/// # let builder = Store::builder(Catalogue::builder().build()?, [Prefix::new("acme")?]);
/// let store = builder.open(MeasuredBackend::new(Memory::new()))?;
/// # let _: Store = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MeasuredBackend<B> {
    inner: B,
    clock: Arc<dyn Clock>,
    seconds: Histogram,
    changes: Histogram,
    ok: Counter,
    failed: Counter,
    outcome_unknown: Counter,
}

impl<B: Backend> MeasuredBackend<B> {
    /// Measures this backend's commits with the recorder that is installed now.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self::with_clock(backend, Arc::new(SystemClock::new()))
    }

    /// Measures with this clock.
    #[must_use]
    pub fn with_clock(backend: B, clock: Arc<dyn Clock>) -> Self {
        names::describe_backend();
        let commits = |outcome| counter!(names::COMMITS, names::OUTCOME => outcome);
        Self {
            inner: backend,
            clock,
            seconds: histogram!(names::COMMIT_SECONDS),
            changes: histogram!(names::COMMIT_CHANGES),
            ok: commits("ok"),
            failed: commits("failed"),
            outcome_unknown: commits("outcome_unknown"),
        }
    }
}

impl<B: Backend> BackendLayer for MeasuredBackend<B> {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let began = self.clock.monotonic();
        let outcome = self.inner.commit(batch);
        self.seconds.record(self.clock.monotonic().saturating_sub(began));
        // A batch has at most some hundreds of changes.
        #[allow(clippy::cast_precision_loss)]
        self.changes.record(batch.len() as f64);
        let counter = match &outcome {
            Ok(_) => &self.ok,
            Err(error) if error.kind() == BackendErrorKind::OutcomeUnknown => &self.outcome_unknown,
            Err(_) => &self.failed,
        };
        counter.increment(1);
        outcome
    }
}

impl<B: fmt::Debug> fmt::Debug for MeasuredBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeasuredBackend").field(&self.inner).finish()
    }
}
