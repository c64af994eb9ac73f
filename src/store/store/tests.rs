//! Tests of the store as a whole.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::backend::{Backend, BackendError, BackendLayer, Change, CommitOutcome, Memory};
use crate::permission::Access;
use crate::store::types::{IndexLimit, UpdateKey};
use crate::store::{AdminKeys, Verifier};

/// Counts the commits.
#[derive(Debug)]
struct Commits(Memory, AtomicUsize);

impl BackendLayer for Commits {
    fn inner(&self) -> &dyn Backend {
        &self.0
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.commit(batch)
    }
}

/// A change that can't be shown is refused by the limit's name before it is committed, and all
/// others go on.
#[test]
fn what_cannot_be_shown_is_never_committed() {
    let catalogue = Catalogue::builder().read("links:read").write("links:write");
    let backend = Arc::new(Commits(Memory::new(), AtomicUsize::new(0)));
    let builder = Store::builder(catalogue.build().unwrap(), [Prefix::new("acme").unwrap()]);
    let store = Arc::new(builder.open_on(Arc::<Commits>::clone(&backend)).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let owner = OwnerId::new("org").unwrap();
    let first = CreateOwner::with_key(CreateKey::new(Access::Full));
    let first = admin.create_owner(&owner, first).unwrap().first_key.unwrap();
    store.engine.records.index.leave_no_sets();

    let commits = || backend.1.load(Ordering::Relaxed);
    let before = commits();
    let narrower = CreateKey::new(Access::ReadOnly);
    let update = UpdateKey::new().access(Access::ReadOnly);
    let mut many = admin.create_many([(owner, narrower.clone())]);
    let refused = [
        admin.create(&owner, narrower).map(drop),
        admin.update(first.key.id, update).map(drop),
        many.next().unwrap().map(drop),
    ];
    for refused in refused {
        let limit = IndexLimit::PermissionSets((1 << 24) - 1);
        assert!(matches!(refused, Err(Error::IndexFull(of)) if of == limit), "{refused:?}");
    }
    assert_eq!(commits(), before);
    let verifier = Verifier::new(Arc::clone(&store));
    assert!(verifier.verify(first.token.expose()).is_ok());
    let _ = admin.create(&owner, CreateKey::new(Access::Full)).unwrap();
    let _ = admin.revoke(first.key.id).unwrap();
    assert!(verifier.verify(first.token.expose()).is_err());
}
