//! Numbers of a backend's commits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::names;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, CommitOutcome, EventPage, EventQuery,
    KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange,
    UsageOutcome, UsageSubject,
};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};

/// A backend whose commits are measured: how long each durable step took, and how many callers'
/// changes it joined. Otherwise it is the one that it wraps.
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
    done: Counter,
    failed: Counter,
    unknown: Counter,
}

impl<B: Backend> MeasuredBackend<B> {
    /// Measures this backend's commits, with the recorder that is installed now.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self::with_clock(backend, Arc::new(SystemClock::new()))
    }

    /// The same, by this clock.
    #[must_use]
    pub fn with_clock(backend: B, clock: Arc<dyn Clock>) -> Self {
        names::describe_backend();
        let commits = |outcome| counter!(names::COMMITS, names::OUTCOME => outcome);
        Self {
            inner: backend,
            clock,
            seconds: histogram!(names::COMMIT_SECONDS),
            changes: histogram!(names::COMMIT_CHANGES),
            done: commits("ok"),
            failed: commits("failed"),
            unknown: commits("unknown"),
        }
    }
}

impl<B: Backend> Backend for MeasuredBackend<B> {
    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let began = self.clock.monotonic();
        let outcome = self.inner.commit(batch);
        self.seconds.record(self.clock.monotonic().saturating_sub(began));
        // At most some hundreds.
        #[allow(clippy::cast_precision_loss)]
        self.changes.record(batch.len() as f64);
        let counter = match &outcome {
            Ok(_) => &self.done,
            Err(error) if error.kind() == BackendErrorKind::OutcomeUnknown => &self.unknown,
            Err(_) => &self.failed,
        };
        counter.increment(1);
        outcome
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    fn open_metadata(&self, initial: &StoreMetadata) -> Result<StoreMetadata, BackendError> {
        self.inner.open_metadata(initial)
    }

    fn metadata(&self) -> Result<StoreMetadata, BackendError> {
        self.inner.metadata()
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.inner.scan(visit)
    }

    fn expected_keys(&self) -> u64 {
        self.inner.expected_keys()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.inner.scan_owner(owner, visit)
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.inner.owner(id)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner.key(id)
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner.key_by_numeric_id(id)
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.inner.page_keys(query)
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.inner.count_keys(filter)
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.inner.page_owners(query)
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.inner.events(query)
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.inner.last_event()
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.inner.prune_events(before, limit)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        self.inner.wait(after, timeout)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.inner.record_usage(batch)
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.inner.usage(of)
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.inner.recover()
    }

    fn close(&self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

impl<B: fmt::Debug> fmt::Debug for MeasuredBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeasuredBackend").field(&self.inner).finish()
    }
}
