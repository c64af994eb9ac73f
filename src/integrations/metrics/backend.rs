//! Metrics of a backend's writes.

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Histogram, counter, histogram};

use super::names;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, UsageChange,
    UsageOutcome,
};
use crate::clock::{Clock, SystemClock};

/// A backend around another one that measures each commit: its duration, and the number of callers'
/// changes that it joined. It also counts the writes of usage figures and of quota leases.
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
    commits: Outcomes,
    usage: Outcomes,
    leases: Outcomes,
}

/// A counter for each outcome of a write.
struct Outcomes {
    ok: Counter,
    failed: Counter,
    outcome_unknown: Counter,
}

impl Outcomes {
    fn of(name: &'static str) -> Self {
        let counter = |outcome| counter!(name, names::OUTCOME => outcome);
        let (ok, failed) = (counter("ok"), counter("failed"));
        Self { ok, failed, outcome_unknown: counter("outcome_unknown") }
    }

    fn count<T>(&self, outcome: &Result<T, BackendError>) {
        let counter = match outcome {
            Ok(_) => &self.ok,
            Err(error) if error.kind() == BackendErrorKind::OutcomeUnknown => &self.outcome_unknown,
            Err(_) => &self.failed,
        };
        counter.increment(1);
    }
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
        Self {
            inner: backend,
            clock,
            seconds: histogram!(names::COMMIT_SECONDS),
            changes: histogram!(names::COMMIT_CHANGES),
            commits: Outcomes::of(names::COMMITS),
            usage: Outcomes::of(names::USAGE_WRITES),
            leases: Outcomes::of(names::LEASE_WRITES),
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
        self.commits.count(&outcome);
        outcome
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        let outcome = self.inner.record_usage(batch);
        // One write may hold both. A failure is one of each kind then.
        let is_usage = |change: &UsageChange| {
            matches!(change, UsageChange::Add(..) | UsageChange::Settle { .. })
        };
        if batch.iter().any(is_usage) {
            self.usage.count(&outcome);
        }
        if !batch.iter().all(is_usage) {
            self.leases.count(&outcome);
        }
        outcome
    }
}

impl<B: fmt::Debug> fmt::Debug for MeasuredBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeasuredBackend").field(&self.inner).finish()
    }
}
