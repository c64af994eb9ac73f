//! A backend that lets other threads go first now and then, so that more calls meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyhasp::backend::{
    Backend, BackendCall, BackendCallKind, BackendError, BackendLayer, Change, CommitOutcome,
    Precondition, Write,
};
use keyhasp::{EventKind, OwnerId};

/// A backend around another one, which yields to other threads before each operation.
#[derive(Debug)]
pub(crate) struct YieldingBackend {
    inner: Arc<dyn Backend>,
    turn: AtomicU64,
}

impl YieldingBackend {
    pub(crate) fn new(inner: Arc<dyn Backend>, seed: u64) -> Self {
        Self { inner, turn: AtomicU64::new(seed) }
    }

    /// Yields to other threads up to three times, as the seed says.
    fn let_others_go_first(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..[0, 0, 1, 3][(turn >> 62) as usize] {
            std::thread::yield_now();
        }
    }
}

impl BackendLayer for YieldingBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn around<T>(
        &self,
        call: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if call.kind != BackendCallKind::Close {
            self.let_others_go_first();
        }
        run()
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        batch.iter().for_each(expect_bound);
        let outcome = self.inner.commit(batch);
        // Other threads may also come between a commit and its publication.
        self.let_others_go_first();
        outcome
    }
}

/// Expects a change that issues a token to rest on its owner and on the store's metadata, as they
/// were when the store decided it. No order of calls is sure to show that a precondition is
/// missing.
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
