//! A backend that lets others go first now and then, so that more calls meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendError, Change, CommitOutcome, EventPage, EventQuery, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Precondition, Scanned, Sharing, UsageChange,
    UsageOutcome, UsageSubject, Write,
};
use keyhasp::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage};
use keyhasp::{EventKind, KeyId, NumericId, OwnerId, Timestamp};

/// A backend, stirred.
#[derive(Debug)]
pub(crate) struct YieldingBackend {
    inner: Arc<dyn Backend>,
    turn: AtomicU64,
}

impl YieldingBackend {
    pub(crate) fn new(inner: Arc<dyn Backend>, seed: u64) -> Self {
        Self { inner, turn: AtomicU64::new(seed) }
    }

    /// The backend, after others have had their turn, or not.
    fn inner(&self) -> &dyn Backend {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..[0, 0, 1, 3][(turn >> 62) as usize] {
            std::thread::yield_now();
        }
        &*self.inner
    }
}

impl Backend for YieldingBackend {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    fn open_metadata(&self, initial: &StoreMetadata) -> Result<StoreMetadata, BackendError> {
        self.inner().open_metadata(initial)
    }

    fn metadata(&self) -> Result<StoreMetadata, BackendError> {
        self.inner().metadata()
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.inner().scan(visit)
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.inner().scan_owner(owner, visit)
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.inner().owner(id)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner().key(id)
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.inner().key_by_numeric_id(id)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        batch.iter().for_each(expect_bound);
        let outcome = self.inner().commit(batch);
        // Also between a commit and its coming into force.
        self.inner();
        outcome
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.inner().page_keys(query)
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.inner().count_keys(filter)
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.inner().page_owners(query)
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.inner().events(query)
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.inner().last_event()
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.inner().prune_events(before, limit)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        self.inner().wait(after, timeout)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.inner().record_usage(batch)
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.inner().usage(of)
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.inner().recover()
    }

    fn close(&self) -> Result<(), BackendError> {
        self.inner.close()
    }
}

/// Whatever brings a token into force holds only if its owner and the store's issue mark are still
/// as they were when that was decided; no order of calls shows it for certain that it wasn't said.
fn expect_bound(change: &Change) {
    for operation in &change.operations {
        let kind = operation.event.kind;
        let issues =
            [EventKind::KeyActivated, EventKind::KeyCreated, EventKind::KeyRotated].contains(&kind);
        let owner = operation.event.owner;
        let is_its = |id: OwnerId| Some(id) == owner;
        let writes_owner = change.operations.iter().any(|operation| match &operation.write {
            Write::CreateOwner(record) | Write::ReplaceOwner(record) => is_its(record.id),
            _ => false,
        });
        let mut preconditions = change.preconditions.iter();
        let owner_holds =
            preconditions.clone().any(|p| matches!(p, Precondition::Owner(id, _) if is_its(*id)));
        let store_holds = preconditions.any(|p| matches!(p, Precondition::StoreMetadata(_)));
        let is_bound = (writes_owner || owner_holds) && store_holds;
        assert!(!issues || is_bound, "{kind:?} rests on nothing: {change:?}");
    }
}
