//! A backend that a store's closing doesn't close.
#![allow(dead_code)] // Each test binary uses its part.

use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, Change, CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange, UsageOf, UsageOutcome,
};
use keyhasp::key::{Header, KeyRecord, OwnerRecord, Usage};
use keyhasp::{ExternalId, KeyId, OwnerId, Timestamp};

/// What a scan shows: all of the backend's own, unless told.
type Scan<B> = fn(&B, &mut dyn FnMut(Scanned)) -> Result<u64, BackendError>;

#[derive(Debug)]
pub(crate) struct KeepOpen<B>(B, Scan<B>);

impl<B: Backend> KeepOpen<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self(backend, B::scan)
    }

    pub(crate) fn scanning(backend: B, scan: Scan<B>) -> Self {
        Self(backend, scan)
    }
}

/// Passes calls on as they are.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> $answer { self.0.$name($($arg),*) })*
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
        commit(batch: &[Change]) -> Result<CommitOutcome, BackendError>;
        page_keys(query: &KeyPageQuery) -> Result<KeyPage, BackendError>;
        count_keys(filter: &KeyFilter) -> Result<u64, BackendError>;
        page_owners(query: &OwnerPageQuery) -> Result<OwnerPage, BackendError>;
        events(query: &EventQuery) -> Result<EventPage, BackendError>;
        last_event() -> Result<u64, BackendError>;
        prune_events(before: Timestamp) -> Result<u64, BackendError>;
        wait(after: u64, timeout: Duration) -> Result<u64, BackendError>;
        take_in_usage(batch: &[UsageChange]) -> Result<UsageOutcome, BackendError>;
        usage(of: &[UsageOf]) -> Result<Vec<Usage>, BackendError>;
        recover() -> Result<(), BackendError>;
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        (self.1)(&self.0, visit)
    }

    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
