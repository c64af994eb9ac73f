//! The commit that binds, and the pieces after it: commits, events, limits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use keyhasp::backend::{
    Backend, BackendError, BackendLayer, Change, CommitOutcome, Memory, OwnerPageQuery, Write,
};
use keyhasp::key::{KeyRecord, MAX_SWEEPS, RejectReason};
use keyhasp::store::{Resource, StoreBuilder};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, Event, EventKind, Issued, KeyId, KeyStore,
    ListEvents, ListKeys, OwnerKeys, Store, VerifyError,
};

use crate::common::{builder, clock, owner};

/// Larger than one piece, smaller than three.
const KEYS: usize = 600;

/// A store whose pieces only the test works.
struct Held {
    store: Arc<Store>,
    backend: Arc<dyn Backend>,
    admin: AdminKeys,
    clock: Arc<keyhasp::ManualClock>,
}

impl Held {
    fn new() -> Self {
        Self::on(Arc::new(Memory::new()))
    }

    fn on(backend: Arc<dyn Backend>) -> Self {
        let clock = clock();
        let store = held(builder(&clock, 1)).open_on(Arc::clone(&backend)).unwrap();
        let store = Arc::new(store);
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        Self { store, backend, admin, clock }
    }

    fn owner(&self, id: &str, keys: usize) -> Vec<Issued> {
        self.admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
        (0..keys).map(|_| self.create(id)).collect()
    }

    fn create(&self, id: &str) -> Issued {
        self.admin.create(&owner(id), CreateKey::new(Access::Full)).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.admin.events(&ListEvents::new().after(after).limit(1_000)).unwrap();
            all.extend(page.items);
            match page.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    fn pending(&self) -> usize {
        let query = OwnerPageQuery { swept: true, ..OwnerPageQuery::all(9) };
        let owners = self.backend.page_owners(&query).unwrap().owners;
        owners.iter().filter_map(|owner| owner.sweeps.as_ref()).map(|s| s.pending.len()).sum()
    }

    fn is(&self, issued: &Issued, expected: Result<(), VerifyError>) {
        let verified = self.store.verify(issued.token.expose().as_bytes());
        assert_eq!(verified.map(drop), expected);
    }
}

fn held(builder: StoreBuilder) -> StoreBuilder {
    builder.without_sweeps_for_tests()
}

/// A backend that, right before a sweep is bound, renames the owner's keys: as the owner's own
/// handles do it beside the call, between its decision and its commit.
#[derive(Debug)]
struct Renaming<B> {
    inner: B,
    /// The keys that are renamed before each commit that binds; and the changes so far.
    keys: Mutex<Vec<KeyId>>,
    changes: Mutex<Vec<Change>>,
}

impl<B: Backend> BackendLayer for Renaming<B> {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let binds = |change: &Change| {
            let mut writes = change.operations.iter().map(|operation| &operation.write);
            writes.any(|write| matches!(write, Write::RevokeKeys(_) | Write::PurgeOwner(..)))
        };
        if batch.iter().any(binds) {
            for id in &*self.keys.lock().unwrap() {
                let key = self.inner.key(*id)?.unwrap();
                let event = batch[0].operations[0].event.clone();
                let key = KeyRecord { version: key.version.next(), ..key };
                let rename = Change::of(Write::ReplaceKey(Box::new(key)), event);
                assert!(self.inner.commit(&[rename])?[0].is_ok());
            }
        }
        self.changes.lock().unwrap().extend(batch.iter().cloned());
        self.inner.commit(batch)
    }
}

#[test]
fn renames_beside_it_keep_no_revocation_of_all_keys_from_binding() {
    let backend = Arc::new(Renaming {
        inner: Memory::new(),
        keys: Mutex::default(),
        changes: Mutex::default(),
    });
    let held = Held::on(Arc::clone(&backend) as Arc<dyn Backend>);
    let keys = held.owner("org", 20);
    *backend.keys.lock().unwrap() = keys.iter().map(|issued| issued.key.id).collect();
    backend.changes.lock().unwrap().clear();
    let replacement = Some(CreateKey::new(Access::Full));
    let revoked = held.admin.revoke_all(&owner("org"), replacement).unwrap();
    assert_eq!(revoked.revoked, 20);
    // Decided once and committed once, with two records: the owner's and the replacement's.
    let changes = std::mem::take(&mut *backend.changes.lock().unwrap());
    let writes: Vec<usize> = changes.iter().map(|change| change.operations.len()).collect();
    assert_eq!(writes, [2]);
    for issued in &keys {
        held.is(issued, Err(VerifyError::Rejected(RejectReason::Revoked)));
    }
    held.is(&revoked.replacement.unwrap(), Ok(()));
    backend.keys.lock().unwrap().clear();
    held.store.finish_sweeps().unwrap();
    assert_eq!(held.admin.count(&ListKeys::new().owner(owner("org"))).unwrap(), 1);
}

#[test]
fn a_piece_has_at_most_256_keys_and_every_key_one_event_that_names_the_binding_one() {
    let backend = Arc::new(Renaming {
        inner: Memory::new(),
        keys: Mutex::default(),
        changes: Mutex::default(),
    });
    let held = Held::on(Arc::clone(&backend) as Arc<dyn Backend>);
    let keys = held.owner("org", KEYS);
    let earlier = held.admin.revoke(keys[7].key.id).unwrap().whole().unwrap();
    held.clock.advance(crate::common::HOUR);
    let with_reason = held.admin.with_reason("leaked").unwrap();
    let incarnation = held.admin.owner(&owner("org")).unwrap().incarnation;
    let revoked = with_reason.revoke_all(&owner("org"), None).unwrap();
    assert_eq!(revoked.revoked, KEYS - 1);
    let bound = held.events().pop().unwrap();
    assert_eq!((bound.kind, bound.binding), (EventKind::OwnerKeysRevoked, None));
    let shown = held.admin.get(keys[3].key.id).unwrap();
    held.clock.advance(crate::common::HOUR);
    backend.changes.lock().unwrap().clear();
    assert_eq!(held.store.finish_sweeps().unwrap(), KEYS as u64 - 1);
    let changes = std::mem::take(&mut *backend.changes.lock().unwrap());
    let sizes: Vec<usize> = changes.iter().map(|change| change.operations.len()).collect();
    assert_eq!(sizes, [256, 256, 87, 1]);
    // The record that a piece wrote is the one that was shown before.
    let written = held.admin.get(keys[3].key.id).unwrap();
    assert_eq!(serde_json::to_value(&shown).unwrap(), serde_json::to_value(&written).unwrap());
    assert_eq!(held.admin.get(keys[7].key.id).unwrap().revoked, earlier.revoked);

    let events = held.events();
    let events = &events[usize::try_from(bound.sequence).unwrap()..];
    let mut seen = BTreeSet::new();
    for event in &events[..events.len() - 1] {
        assert_eq!((event.kind, event.binding), (EventKind::KeyRevoked, Some(bound.sequence)));
        assert_eq!((event.at, &event.authority), (bound.at, &bound.authority));
        assert_eq!(event.incarnation, Some(incarnation));
        assert!(seen.insert(event.key.unwrap()));
    }
    assert_eq!(seen.len(), KEYS - 1);
    let ended = events.last().unwrap();
    let expected = (EventKind::OwnerSweepEnded, Some(bound.sequence), None);
    assert_eq!((ended.kind, ended.binding, ended.key), expected);
    assert_eq!(held.pending(), 0);
    // The owner's version is that of the binding commit.
    assert_eq!(held.admin.owner(&owner("org")).unwrap().version, bound.version);
}

#[test]
fn a_purged_owner_is_gone_at_once_and_may_come_again_at_once() {
    let held = Held::new();
    let keys = held.owner("org", KEYS);
    let first = held.admin.owner(&owner("org")).unwrap();
    let _ = held.admin.suspend_owner(&owner("org")).unwrap();
    held.admin.purge_owner(&owner("org")).unwrap();
    let gone = held.admin.owner(&owner("org"));
    assert!(matches!(gone, Err(Error::NotFound(Resource::Owner))), "{gone:?}");
    let gone = held.admin.get(keys[0].key.id);
    assert!(matches!(gone, Err(Error::NotFound(Resource::Key))), "{gone:?}");
    held.is(&keys[0], Err(VerifyError::Unrecognized));
    held.store.work_sweeps_for_tests(1).unwrap();
    let again = held.owner("org", 2);
    let second = held.admin.owner(&owner("org")).unwrap();
    assert_ne!(first.incarnation, second.incarnation);
    assert_eq!(second.version.get(), 1);
    held.is(&keys[0], Err(VerifyError::Unrecognized));
    held.is(&again[0], Ok(()));
    // The pieces that are left are of the first owner, and leave the second alone.
    held.store.finish_sweeps().unwrap();
    held.is(&again[0], Ok(()));
    assert_eq!(held.admin.count(&ListKeys::new().owner(owner("org"))).unwrap(), 2);
    let alice = OwnerKeys::new(Arc::clone(&held.store) as Arc<dyn KeyStore>, owner("org"), "al");
    let own = alice.unwrap().events(&ListEvents::new()).unwrap().items;
    let kinds: Vec<_> = own.iter().map(|event| event.kind).collect();
    let created = EventKind::KeyCreated;
    assert_eq!(kinds, [EventKind::OwnerCreated, created, created]);
    let purged = held.events().into_iter().filter(|event| event.kind == EventKind::KeyPurged);
    let incarnations: Vec<_> = purged.map(|event| event.incarnation).collect();
    assert_eq!(incarnations, vec![Some(first.incarnation); KEYS]);
    assert_eq!(held.store.check().unwrap(), []);
}

#[test]
fn a_call_that_would_make_one_sweep_too_many_works_the_pieces_first() {
    let held = Held::new();
    held.owner("org", 1);
    for round in 0..=MAX_SWEEPS {
        assert_eq!(held.pending(), round);
        let replacement = Some(CreateKey::new(Access::Full));
        assert_eq!(held.admin.revoke_all(&owner("org"), replacement).unwrap().revoked, 1);
    }
    assert_eq!(held.pending(), 1);
    assert_eq!(held.admin.count(&ListKeys::new().owner(owner("org"))).unwrap(), 1);
}

/// Only a purge writes a revoked key. Its record then says so before its piece comes.
#[test]
fn a_key_that_is_purged_before_its_piece_has_the_event_of_its_revocation_too() {
    let held = Held::new();
    let keys = held.owner("org", 3);
    held.admin.revoke_all(&owner("org"), None).unwrap();
    let bound = held.events().pop().unwrap();
    held.admin.purge(keys[1].key.id).unwrap();
    let last: Vec<_> = held.events().split_off(usize::try_from(bound.sequence).unwrap());
    let told: Vec<_> = last.iter().map(|e| (e.kind, e.binding, e.version.get())).collect();
    let revoked = (EventKind::KeyRevoked, Some(bound.sequence), 2);
    assert_eq!(told, [revoked, (EventKind::KeyPurged, None, 2)]);
    assert_eq!(held.store.finish_sweeps().unwrap(), 2);
    assert_eq!(held.pending(), 0);
}
