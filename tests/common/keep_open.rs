//! A backend that a store's closing doesn't close.
#![allow(dead_code)] // Each test binary uses its part.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, Change, CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange, UsageOf, UsageOutcome,
};
use keyhasp::key::{Header, KeyRecord, OwnerRecord, Usage};
use keyhasp::{ExternalId, KeyId, OwnerId, Timestamp};

/// What a scan shows: all of the backend's own, unless told.
type Scan<B> = fn(&B, &mut dyn FnMut(Scanned)) -> Result<u64, BackendError>;

pub(crate) struct KeepOpen<B> {
    backend: B,
    scan: Scan<B>,
    /// What is done right before the next commit.
    before_commit: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// What pruning answers instead, if anything.
    pruned: Mutex<Option<Prune>>,
}

/// Told how many events may go at most.
type Prune = Box<dyn FnMut(usize) -> Option<u64> + Send>;

impl<B: Backend> KeepOpen<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self::scanning(backend, B::scan)
    }

    pub(crate) fn scanning(backend: B, scan: Scan<B>) -> Self {
        Self { backend, scan, before_commit: Mutex::default(), pruned: Mutex::default() }
    }

    /// Lets somebody else be faster than the next commit.
    pub(crate) fn overtake(&self, other: impl FnOnce() + Send + 'static) {
        *self.before_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(other));
    }

    /// Asks this whenever events are to be pruned; where it answers, nothing is.
    pub(crate) fn when_pruning(&self, ask: impl FnMut(usize) -> Option<u64> + Send + 'static) {
        *self.pruned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ask));
    }
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
        open_header(initial: &Header) -> Result<Header, BackendError>;
        header() -> Result<Header, BackendError>;
        expected_keys() -> u64;
        scan_owner(owner: &OwnerId, visit: &mut dyn FnMut(Scanned)) -> Result<(), BackendError>;
        owner(id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError>;
        key(id: KeyId) -> Result<Option<KeyRecord>, BackendError>;
        key_by_external_id(id: ExternalId) -> Result<Option<KeyRecord>, BackendError>;
        page_keys(query: &KeyPageQuery) -> Result<KeyPage, BackendError>;
        count_keys(filter: &KeyFilter) -> Result<u64, BackendError>;
        page_owners(query: &OwnerPageQuery) -> Result<OwnerPage, BackendError>;
        events(query: &EventQuery) -> Result<EventPage, BackendError>;
        last_event() -> Result<u64, BackendError>;
        wait(after: u64, timeout: Duration) -> Result<u64, BackendError>;
        take_in_usage(batch: &[UsageChange]) -> Result<UsageOutcome, BackendError>;
        usage(of: &[UsageOf]) -> Result<Vec<Usage>, BackendError>;
        recover() -> Result<(), BackendError>;
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        (self.scan)(&self.backend, visit)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let first = self.before_commit.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.into_iter().for_each(|other| other());
        self.backend.commit(batch)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        match pruned.as_mut().and_then(|ask| ask(limit)) {
            Some(answer) => Ok(answer),
            None => self.backend.prune_events(before, limit),
        }
    }

    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
