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

/// Another process's act, right after this one has read a key.
type Act = Box<dyn FnOnce() + Send>;

/// A backend behind whose next reading of a key that is there something is done.
struct Interrupted(Sqlite, Arc<std::sync::Mutex<Option<Act>>>);

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

impl BackendLayer for Interrupted {
    fn inner(&self) -> &dyn Backend {
        &self.0
    }

    fn key(&self, id: keyhasp::KeyId) -> Result<Option<keyhasp::key::KeyRecord>, BackendError> {
        let key = Backend::key(&self.0, id)?;
        let act = key.as_ref().and_then(|_| self.1.lock().unwrap().take());
        act.into_iter().for_each(|act| act());
        Ok(key)
    }
}

/// The owner that the process reads then is newer than the key that it has read.
#[test]
fn a_key_that_is_revoked_with_all_between_two_readings_is_let_in_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let a = Process::open(&path, 1);
    let first = CreateOwner::with_key(CreateKey::new(Access::Full));
    a.admin.create_owner(&owner("org"), first).unwrap();
    let options = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
    let backend = Sqlite::open_or_create(&path, options.sync_off_for_tests()).unwrap().0;
    let act = Arc::<std::sync::Mutex<Option<Act>>>::default();
    let builder = builder(&clock(), 2).without_sweeps_for_tests();
    let b = Arc::new(builder.open(Interrupted(backend, Arc::clone(&act))).unwrap());
    let admin = AdminKeys::new(Arc::clone(&b) as Arc<dyn KeyStore>, "root").unwrap();
    // B hasn't heard of this, and creates a key of the next epoch.
    a.admin.revoke_all(&owner("org"), None).unwrap();
    let revoking = AdminKeys::new(Arc::clone(&a.store) as Arc<dyn KeyStore>, "root").unwrap();
    *act.lock().unwrap() =
        Some(Box::new(move || drop(revoking.revoke_all(&owner("org"), None).unwrap())));
    let key = admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    assert!(act.lock().unwrap().is_none(), "it was read");
    let revoked = Err(VerifyError::Rejected(RejectReason::Revoked));
    let verdict = || b.verify(key.token.expose().as_bytes()).map(drop);
    assert_eq!(verdict(), revoked);
    b.refresh().unwrap();
    assert_eq!(verdict(), revoked);
    a.store.finish_sweeps().unwrap();
    b.refresh().unwrap();
    assert_eq!(verdict(), revoked);
}
