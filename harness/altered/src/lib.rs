//! A backend that passes everything on to another, but what a harness alters: how a store is
//! brought into a state that an honest backend seldom leads to.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, Change, CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, Sharing, UsageChange, UsageOutcome,
    UsageSubject,
};
use keyhasp::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};
use keyhasp::{KeyId, NumericId, OwnerId, Timestamp};

/// What a harness may alter; what it leaves alone is passed on.
pub trait Alter: Debug + Send + Sync + 'static {
    /// How the database is said to be shared.
    fn sharing(&self, inner: Sharing) -> Sharing {
        inner
    }

    /// A record on its way into the index.
    fn scanned(&self, scanned: Scanned) -> Scanned {
        scanned
    }

    /// Records that are shown after all others.
    fn scanned_more(&self, visit: &mut dyn FnMut(Scanned)) {
        let _ = visit;
    }

    /// How a batch is committed.
    ///
    /// # Errors
    /// As `inner` says, or what is said instead.
    fn commit(&self, inner: &dyn Backend, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        match inner.commit(batch) {
            Ok(outcome) => self.committed(outcome),
            Err(error) => self.failed(error),
        }
    }

    /// What is said of a commit that was carried out.
    fn committed(&self, outcome: CommitOutcome) -> Result<CommitOutcome, BackendError> {
        Ok(outcome)
    }

    /// What is said of a commit that failed.
    ///
    /// # Errors
    /// The same, unless altered.
    fn failed(&self, error: BackendError) -> Result<CommitOutcome, BackendError> {
        Err(error)
    }

    /// How a batch of usage is taken in.
    ///
    /// # Errors
    /// As `inner` says, or what is said instead.
    fn record_usage(
        &self,
        inner: &dyn Backend,
        batch: &[UsageChange],
    ) -> Result<UsageOutcome, BackendError> {
        inner.record_usage(batch)
    }

    /// Whether the database may be made usable again.
    ///
    /// # Errors
    /// What is said instead.
    fn recover(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Whether it can still be looked at when it was closed.
    fn stays_open(&self) -> bool {
        false
    }
}

/// The backend that is altered so.
#[derive(Debug)]
pub struct Intercepted<A> {
    inner: Arc<dyn Backend>,
    by: A,
}

impl<A> Intercepted<A> {
    /// `inner`, altered by `by`.
    pub fn new(inner: Arc<dyn Backend>, by: A) -> Self {
        Self { inner, by }
    }
}

impl<A: Alter> Backend for Intercepted<A> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn sharing(&self) -> Sharing {
        self.by.sharing(self.inner.sharing())
    }

    fn open_metadata(&self, initial: &StoreMetadata) -> Result<StoreMetadata, BackendError> {
        self.inner.open_metadata(initial)
    }

    fn metadata(&self) -> Result<StoreMetadata, BackendError> {
        self.inner.metadata()
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let through = self.inner.scan(&mut |scanned| visit(self.by.scanned(scanned)))?;
        self.by.scanned_more(visit);
        Ok(through)
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.inner.scan_owner(owner, &mut |scanned| visit(self.by.scanned(scanned)))
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

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.by.commit(&*self.inner, batch)
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
        self.by.record_usage(&*self.inner, batch)
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.inner.usage(of)
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.by.recover()?;
        self.inner.recover()
    }

    fn close(&self) -> Result<(), BackendError> {
        if self.by.stays_open() {
            return Ok(());
        }
        self.inner.close()
    }
}
