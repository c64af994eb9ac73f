//! A backend that stays open when its store closes.
#![allow(dead_code)] // Each test binary uses its part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyhasp::Timestamp;
use keyhasp::backend::{
    Backend, BackendError, BackendLayer, Change, CommitOutcome, Scanned, UsageChange, UsageOutcome,
};

/// A replacement for the backend's scan. Defaults to none.
type Scan<B> = fn(&B, &mut dyn FnMut(Scanned)) -> Result<u64, BackendError>;

pub(crate) struct KeepOpen<B> {
    backend: B,
    scan: Scan<B>,
    /// Work that is done once, at its point.
    planned: Mutex<BTreeMap<Point, Box<dyn FnOnce() + Send>>>,
    /// Answers for pruning, in place of the backend's.
    pruned: Mutex<Option<Prune>>,
}

/// Points of time at which a test's work may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    BeforeCommit,
    BeforeUsage,
    AfterRecovery,
}

/// A replacement for pruning. Its argument is the largest number of events that it may delete.
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

    /// Runs this the next time that the backend comes to this point.
    pub(crate) fn plan(&self, at: Point, other: impl FnOnce() + Send + 'static) {
        lock(&self.planned).insert(at, Box::new(other));
    }

    /// Asks this for each pruning. If it answers, the backend prunes nothing.
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

impl<B: Backend> BackendLayer for KeepOpen<B> {
    fn inner(&self) -> &dyn Backend {
        &self.backend
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
