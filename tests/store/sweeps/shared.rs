//! Two stores on one SQLite file, as two processes have them, in the middle of the pieces.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendLayer, Scanned};
use keyhasp::id::OwnerId;
use keyhasp::key::RejectReason;
use keyhasp::{Access, AdminKeys, CreateKey, CreateOwner, Issued, KeyStore, Store, VerifyError};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{builder, clock, owner};

/// A backend that counts the loads of an owner with its keys.
#[derive(Debug)]
struct Counting(Sqlite, Arc<AtomicUsize>);

impl BackendLayer for Counting {
    fn inner(&self) -> &dyn Backend {
        &self.0
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.scan_owner(owner, visit)
    }

    fn key(&self, id: keyhasp::KeyId) -> Result<Option<keyhasp::key::KeyRecord>, BackendError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Backend::key(&self.0, id)
    }
}

struct Process {
    store: Arc<Store>,
    admin: AdminKeys,
    loads: Arc<AtomicUsize>,
}

impl Process {
    /// A process that polls only when it is told to, in effect.
    fn open(path: &std::path::Path, seed: u64) -> Self {
        let options = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
        let backend = Sqlite::open_or_create(path, options.sync_off_for_tests()).unwrap().0;
        let loads = Arc::<AtomicUsize>::default();
        let clock = clock();
        let builder = builder(&clock, seed).without_sweeps_for_tests();
        let store = Arc::new(builder.open(Counting(backend, Arc::clone(&loads))).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        Self { store, admin, loads }
    }

    fn verdict(&self, issued: &Issued) -> Result<(), VerifyError> {
        self.store.verify(issued.token.expose().as_bytes()).map(drop)
    }
}

#[test]
fn a_process_that_hears_of_a_sweep_shows_it_and_loads_nothing_for_its_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let (a, b) = (Process::open(&path, 1), Process::open(&path, 2));
    a.admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap();
    let create = |process: &Process| {
        process.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap()
    };
    let keys: Vec<Issued> = (0..300).map(|_| create(&a)).collect();
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&keys[0]), Ok(()));
    assert_eq!(a.admin.revoke_all(&owner("org"), None).unwrap().revoked, 300);
    b.store.refresh().unwrap();
    let revoked = Err(VerifyError::Rejected(RejectReason::Revoked));
    assert!(keys.iter().all(|issued| b.verdict(issued) == revoked));
    let before = b.loads.load(Ordering::Relaxed);
    assert_eq!(a.store.finish_sweeps().unwrap(), 300);
    b.store.refresh().unwrap();
    assert_eq!(b.loads.load(Ordering::Relaxed), before, "loads for the pieces");
    assert!(keys.iter().all(|issued| b.verdict(issued) == revoked));
    assert_eq!(b.store.finish_sweeps().unwrap(), 0);
}

/// Either may work a piece; what the one has written, the other passes over.
#[test]
fn two_processes_work_the_pieces_of_one_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let (a, b) = (Process::open(&path, 1), Process::open(&path, 2));
    a.admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap();
    for _ in 0..600 {
        a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    }
    a.admin.revoke_all(&owner("org"), None).unwrap();
    let written: u64 = std::thread::scope(|scope| {
        let threads = [&a, &b].map(|process| scope.spawn(|| process.store.finish_sweeps()));
        threads.map(|thread| thread.join().unwrap().unwrap()).iter().sum()
    });
    assert_eq!(written, 600);
}

#[test]
fn no_key_of_a_purged_owner_lives_on_in_a_process_that_creates_the_owner_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let (a, b) = (Process::open(&path, 1), Process::open(&path, 2));
    let first = CreateOwner::with_key(CreateKey::new(Access::Full));
    let created = a.admin.create_owner(&owner("org"), first).unwrap();
    let old = created.first_key.unwrap();
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&old), Ok(()));
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    a.admin.purge_owner(&owner("org")).unwrap();
    // B hasn't heard of it yet.
    let first = CreateOwner::with_key(CreateKey::new(Access::Full));
    let new = b.admin.create_owner(&owner("org"), first).unwrap().first_key.unwrap();
    assert_eq!(b.verdict(&new), Ok(()));
    assert_eq!(b.verdict(&old), Err(VerifyError::Unrecognized));
    for process in [&b, &a] {
        process.store.refresh().unwrap();
        assert_eq!(process.verdict(&new), Ok(()));
        assert_eq!(process.verdict(&old), Err(VerifyError::Unrecognized));
    }
    b.store.finish_sweeps().unwrap();
    for process in [&b, &a] {
        process.store.refresh().unwrap();
        assert_eq!(process.verdict(&new), Ok(()));
        assert_eq!(process.verdict(&old), Err(VerifyError::Unrecognized));
    }
}
