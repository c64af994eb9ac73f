//! A backend that a store's closing doesn't close.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, Change, CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange, UsageOutcome,
    UsageSubject,
};
use keyhasp::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};
use keyhasp::{KeyId, NumericId, OwnerId, Timestamp};

/// What a scan shows: all of the backend's own, unless told.
type Scan<B> = fn(&B, &mut dyn FnMut(Scanned)) -> Result<u64, BackendError>;

pub(crate) struct KeepOpen<B> {
    backend: B,
    scan: Scan<B>,
    /// What is done there once.
    planned: Mutex<BTreeMap<Point, Box<dyn FnOnce() + Send>>>,
    /// What pruning answers instead, if anything.
    pruned: Mutex<Option<Prune>>,
}

/// Where something else may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    BeforeCommit,
    BeforeUsage,
    AfterRecovery,
}

/// Takes how many events may go at most.
type Prune = Box<dyn FnMut(usize) -> Option<u64> + Send>;

impl<B: Backend> KeepOpen<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self::scanning(backend, B::scan)
    }

    pub(crate) fn scanning(backend: B, scan: Scan<B>) -> Self {
        Self { backend, scan, planned: Mutex::default(), pruned: Mutex::default() }
    }

    pub(crate) fn inner(&self) -> &B {
        &self.backend
    }

    /// Does this the next time that the backend is there.
    pub(crate) fn plan(&self, at: Point, other: impl FnOnce() + Send + 'static) {
        lock(&self.planned).insert(at, Box::new(other));
    }

    /// Asks this whenever events are to be pruned; where it answers, nothing is.
    pub(crate) fn when_pruning(&self, ask: impl FnMut(usize) -> Option<u64> + Send + 'static) {
        *lock(&self.pruned) = Some(Box::new(ask));
    }

    fn pass(&self, point: Point) {
        let planned = lock(&self.planned).remove(&point);
        planned.into_iter().for_each(|other| other());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: fmt::Debug> fmt::Debug for KeepOpen<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeepOpen").field(&self.backend).finish()
    }
}

/// Passes calls on as they are.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> $answer { self.backend.$name($($arg),*) })*
    };
}

impl<B: Backend> Backend for KeepOpen<B> {
    pass_on! {
        name() -> &'static str;
        sharing() -> Sharing;
        open_metadata(initial: &StoreMetadata) -> Result<StoreMetadata, BackendError>;
        metadata() -> Result<StoreMetadata, BackendError>;
        expected_keys() -> u64;
        scan_owner(owner: &OwnerId, visit: &mut dyn FnMut(Scanned)) -> Result<(), BackendError>;
        owner(id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError>;
        key(id: KeyId) -> Result<Option<KeyRecord>, BackendError>;
        key_by_numeric_id(id: NumericId) -> Result<Option<KeyRecord>, BackendError>;
        page_keys(query: &KeyPageQuery) -> Result<KeyPage, BackendError>;
        count_keys(filter: &KeyFilter) -> Result<u64, BackendError>;
        page_owners(query: &OwnerPageQuery) -> Result<OwnerPage, BackendError>;
        events(query: &EventQuery) -> Result<EventPage, BackendError>;
        last_event() -> Result<u64, BackendError>;
        wait(after: u64, timeout: Duration) -> Result<u64, BackendError>;
        usage(of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError>;
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        (self.scan)(&self.backend, visit)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.pass(Point::BeforeCommit);
        self.backend.commit(batch)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.pass(Point::BeforeUsage);
        self.backend.record_usage(batch)
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.backend.recover().inspect(|()| self.pass(Point::AfterRecovery))
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        let mut pruned = lock(&self.pruned);
        match pruned.as_mut().and_then(|ask| ask(limit)) {
            Some(answer) => Ok(answer),
            None => self.backend.prune_events(before, limit),
        }
    }

    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
