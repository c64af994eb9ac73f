//! Counts of reads and writes of a binding commit and its pieces; and openings in the middle of pieces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyhasp::backend::{
    Backend, BackendCall, BackendCallKind, BackendError, BackendErrorKind, BackendLayer, Change,
    CommitOutcome, KeyPage, KeyPageQuery, Memory,
};
use keyhasp::id::OwnerId;
use keyhasp::key::RejectReason;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, EventKind, Issued, KeyId, KeyStore, ListEvents,
    ListKeys, Store, VerifyError,
};

use crate::common::keep_open::KeepOpen;
use crate::common::{builder, clock, owner};

/// The most keys of one piece.
const PIECE: usize = 256;

/// Returns the number of pieces of so many keys: their commits, and the one that ends the sweep.
const fn pieces_of(keys: usize) -> usize {
    keys.div_ceil(PIECE) + 1
}

/// A backend that notes each call, in order.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn Backend>,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    /// A commit with so many operations.
    Commit(usize),
    /// A page for which so many keys are looked at.
    Page(usize),
    Read(&'static str),
}

impl BackendLayer for Noting {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn around<T>(
        &self,
        call: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if call.kind == BackendCallKind::Read {
            self.calls.lock().unwrap().push(Call::Read(call.operation));
        }
        run()
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.calls.lock().unwrap().push(Call::Page(query.examine));
        self.inner.page_keys(query)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let operations = batch.iter().map(|change| change.operations.len()).sum();
        self.calls.lock().unwrap().push(Call::Commit(operations));
        self.inner.commit(batch)
    }
}

/// A store whose pieces only the test works, with an owner of many keys and another one.
struct World {
    store: Arc<Store>,
    admin: AdminKeys,
    calls: Arc<Mutex<Vec<Call>>>,
    keys: Vec<Issued>,
    other: Issued,
}

impl World {
    fn on(backend: Arc<dyn Backend>, keys: usize) -> Self {
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let noting = Noting { inner: backend, calls: Arc::clone(&calls) };
        let store = builder(&clock(), 1).without_sweeps_for_tests().open(noting).unwrap();
        let store = Arc::new(store);
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        let create = |id: &str, count: usize| -> Vec<Issued> {
            admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
            let one = |_| admin.create(&owner(id), CreateKey::new(Access::Full)).unwrap();
            (0..count).map(one).collect()
        };
        let (keys, other) = (create("org", keys), create("other", 1).remove(0));
        Self { store, admin, calls, keys, other }
    }

    fn revoke_all(&self) {
        self.admin.revoke_all(&owner("org"), None).unwrap();
    }

    fn purge(&self) {
        self.admin.suspend_owner(&owner("org")).unwrap();
        self.taken();
        self.admin.purge_owner(&owner("org")).unwrap();
    }

    fn taken(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn verdict(&self, issued: &Issued) -> Result<(), VerifyError> {
        self.store.verify(issued.token.expose().as_bytes()).map(drop)
    }

    fn all_are(&self, expected: VerifyError) {
        for issued in &self.keys {
            assert_eq!(self.verdict(issued), Err(expected));
        }
        assert_eq!(self.verdict(&self.other), Ok(()));
    }
}

/// A binding call, and the answer of each key from then on.
type Binding = (fn(&World), VerifyError);

const BINDINGS: [Binding; 2] = [
    (World::revoke_all, VerifyError::Rejected(RejectReason::Revoked)),
    (World::purge, VerifyError::Unrecognized),
];

/// A way to open a backend: fresh, or as it was left.
type Opening = Box<dyn Fn() -> Arc<dyn Backend>>;

fn each_backend(test: impl Fn(Opening)) {
    let memory: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
    test(Box::new(move || Arc::clone(&memory)));
    #[cfg(all(feature = "sqlite", feature = "testing"))]
    {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.db");
        test(Box::new(move || {
            let options = SqliteOptions::exclusive().sync_off_for_tests();
            Arc::new(Sqlite::open_or_create(&path, options).unwrap().0)
        }));
    }
    #[cfg(all(feature = "sled", feature = "testing"))]
    {
        use keyhasp::backend::sled::{Sled, SledOptions};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        test(Box::new(move || {
            let options = SledOptions::default().sync_off_for_tests();
            Arc::new(Sled::open_or_create(&path, options).unwrap().0)
        }));
    }
}

/// A backend whose list of an owner's keys lacks one, and whose commits of one owner's pieces fail.
#[derive(Debug, Default)]
struct Faults {
    hidden: Option<KeyId>,
    failing: Option<OwnerId>,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Arc<Mutex<Faults>>,
}

impl BackendLayer for Faulty {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        let mut page = self.inner.page_keys(query)?;
        if query.filter.owner.is_some() {
            let hidden = self.faults.lock().unwrap().hidden;
            page.keys.retain(|key| Some(key.id) != hidden);
        }
        Ok(page)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let failing = self.faults.lock().unwrap().failing;
        let mut pieces = batch.iter().filter_map(|change| change.piece_of);
        if pieces.any(|piece| Some(piece.owner) == failing) {
            return Err(BackendError::new(BackendErrorKind::Full, "faulty", "commit"));
        }
        self.inner.commit(batch)
    }
}

#[test]
fn a_key_that_the_list_of_its_owner_lacks_is_swept_too() {
    for (bind, verdict) in BINDINGS {
        each_backend(|open| {
            let faults = Arc::<Mutex<Faults>>::default();
            let backend = Faulty { inner: open(), faults: Arc::clone(&faults) };
            let world = World::on(Arc::new(backend), 4);
            faults.lock().unwrap().hidden = Some(world.keys[1].key.id);
            bind(&world);
            // By the list three, and by the records of all keys the one that it lacks.
            assert_eq!(world.store.finish_sweeps().unwrap(), 4);
            world.all_are(verdict);
            let World { store, admin, keys, .. } = world;
            drop((store, admin));
            let store = builder(&clock(), 2).without_sweeps_for_tests().open_on(open()).unwrap();
            let answer = |issued: &Issued| store.verify(issued.token.expose().as_bytes());
            assert!(keys.iter().all(|issued| answer(issued).unwrap_err() == verdict));
            store.finish_sweeps().unwrap();
            assert!(keys.iter().all(|issued| answer(issued).unwrap_err() == verdict));
            assert_eq!(store.check().unwrap(), []);
        });
    }
}

#[test]
fn an_owner_whose_pieces_fail_keeps_no_other_one_waiting() {
    let faults = Arc::<Mutex<Faults>>::default();
    let backend = Faulty { inner: Arc::new(Memory::new()), faults: Arc::clone(&faults) };
    let world = World::on(Arc::new(backend), 4);
    world.revoke_all();
    world.admin.revoke_all(&owner("other"), None).unwrap();
    faults.lock().unwrap().failing = Some(owner("org"));
    assert!(world.store.finish_sweeps().is_err());
    let ended = world.admin.events(&ListEvents::new().owner(owner("other"))).unwrap().items;
    assert_eq!(ended.last().unwrap().kind, EventKind::OwnerSweepEnded);
    faults.lock().unwrap().failing = None;
    assert_eq!(world.store.finish_sweeps().unwrap(), 4);
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn a_pass_looks_at_no_keys_that_were_revoked_before_unless_the_owner_was_purged() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::exclusive().sync_off_for_tests();
    let sqlite = Sqlite::create(dir.path().join("keys.db"), options).unwrap();
    let world = World::on(Arc::new(sqlite), 600);
    world.revoke_all();
    world.store.finish_sweeps().unwrap();
    world.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    world.revoke_all();
    world.taken();
    assert_eq!(world.store.finish_sweeps().unwrap(), 1);
    let pages = world.taken().into_iter().filter(|call| matches!(call, Call::Page(_))).count();
    assert_eq!(pages, 1);
}

#[test]
fn lists_and_counts_in_the_middle_ask_for_few_pages() {
    let world = World::on(Arc::new(Memory::new()), 600);
    let fresh = world.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap().key.id;
    world.admin.revoke(fresh).unwrap();
    let replacement = Some(CreateKey::new(Access::Full));
    world.admin.revoke_all(&owner("org"), replacement).unwrap();
    let pages = |run: &dyn Fn()| {
        world.taken();
        run();
        world.taken().iter().filter(|call| matches!(call, Call::Page(_))).count()
    };
    let list = ListKeys::new().owner(owner("org")).limit(1);
    assert_eq!(pages(&|| assert_eq!(world.admin.list(&list).unwrap().items.len(), 1)), 1);
    assert_eq!(pages(&|| assert_eq!(world.admin.count(&ListKeys::new()).unwrap(), 2)), 1);
    world.revoke_all();
    let again = || assert_eq!(world.admin.revoke_all(&owner("org"), None).unwrap().revoked, 0);
    assert_eq!(pages(&again), 1);
}

#[test]
fn the_commit_that_binds_reads_no_key_and_a_piece_at_most_256() {
    for (bind, verdict) in BINDINGS {
        each_backend(|open| {
            let world = World::on(open(), 600);
            world.taken();
            bind(&world);
            world.all_are(verdict);
            let calls = world.taken();
            let at = calls.iter().position(|call| *call == Call::Commit(1)).unwrap();
            assert_eq!(calls[at + 1..], [], "publishing it reads nothing");

            for _ in 0..pieces_of(600) {
                world.store.work_sweeps_for_tests(1).unwrap();
                // Other callers commit between two pieces.
                let create = CreateKey::new(Access::Full);
                let fresh = world.admin.create(&owner("other"), create).unwrap();
                assert_eq!(world.verdict(&fresh), Ok(()));
                world.all_are(verdict);
            }
            for call in world.taken() {
                match call {
                    Call::Commit(keys) | Call::Page(keys) => assert!(keys <= PIECE, "{call:?}"),
                    Call::Read(operation) => assert!(!operation.starts_with("scan"), "{call:?}"),
                }
            }
            assert_eq!(world.store.finish_sweeps().unwrap(), 0, "all pieces were written");
        });
    }
}

/// Stops after each number of pieces without closing, and opens again.
#[test]
fn pieces_go_on_at_the_next_opening() {
    const KEYS: usize = 300;
    for pieces in 0..=pieces_of(KEYS) {
        for (bind, verdict) in BINDINGS {
            each_backend(|open| {
                let world = World::on(open(), KEYS);
                bind(&world);
                let numbers: Vec<KeyId> = world.keys.iter().map(|issued| issued.key.id).collect();
                world.store.work_sweeps_for_tests(pieces).unwrap();
                let World { store, admin, keys, .. } = world;
                drop((store, admin));

                // With its own thread, of which the last look sees the end.
                let store = builder(&clock(), 2).open_on(open()).unwrap();
                let answer = |issued: &Issued| store.verify(issued.token.expose().as_bytes());
                assert!(keys.iter().all(|issued| answer(issued).unwrap_err() == verdict));
                store.finish_sweeps().unwrap();
                assert!(keys.iter().all(|issued| answer(issued).unwrap_err() == verdict));
                assert_eq!(store.check().unwrap(), []);
                let admin = AdminKeys::new(Arc::new(store), "root").unwrap();
                let listed = admin.count(&ListKeys::new().owner(owner("org"))).unwrap();
                assert_eq!(listed, 0);
                let (of_keys, ended) = events_of_pieces(&admin);
                assert!(numbers.iter().all(|key| of_keys.get(key) == Some(&1)), "{pieces}");
                assert_eq!((of_keys.len(), ended), (KEYS, 1), "after {pieces} pieces");
            });
        }
    }
}

/// Returns how many events of pieces each key has, and how many sweeps have ended.
pub(super) fn events_of_pieces(admin: &AdminKeys) -> (BTreeMap<KeyId, usize>, usize) {
    let (mut of_keys, mut ended, mut after) = (BTreeMap::new(), 0, 0);
    loop {
        let page = admin.events(&ListEvents::new().after(after).limit(1_000)).unwrap();
        for event in page.items.iter().filter(|event| event.binding.is_some()) {
            match event.key {
                Some(key) => *of_keys.entry(key).or_default() += 1,
                None => ended += 1,
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return (of_keys, ended),
        }
    }
}
