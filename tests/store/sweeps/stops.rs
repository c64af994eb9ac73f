//! Backends that stop in the middle of the pieces: before a commit, and after one whose answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, Memory,
};
use keyhasp::key::RejectReason;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Issued, KeyStore, ListKeys, Store, VerifyError,
};

use super::counts::events_of_pieces;
use crate::common::keep_open::KeepOpen;
use crate::common::{builder, clock, owner};

/// One more than a piece has, so that there are three commits: two of keys, and the end.
const KEYS: usize = 257;
const PIECES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    /// The commit isn't made.
    Before,
    /// It is made, and its caller doesn't hear of it.
    After,
}

/// A backend that stops at the commit of one piece, and makes no commit from then on.
#[derive(Debug)]
struct Stopping {
    inner: Arc<dyn Backend>,
    at: (usize, Stop),
    pieces: Arc<AtomicUsize>,
}

impl BackendLayer for Stopping {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let failed = |kind| Err(BackendError::new(kind, "stopping", "commit"));
        let (nth, stop) = self.at;
        if batch.iter().any(|change| change.piece_of.is_some()) {
            let so_far = self.pieces.fetch_add(1, Ordering::Relaxed);
            if (so_far, stop) == (nth, Stop::After) {
                assert!(self.inner.commit(batch)?.iter().all(Result::is_ok));
                return failed(BackendErrorKind::OutcomeUnknown);
            }
        }
        let is_over = self.pieces.load(Ordering::Relaxed) > nth;
        if is_over { failed(BackendErrorKind::Full) } else { self.inner.commit(batch) }
    }
}

/// A binding call, the answer of each key from then on, and the same owner or another of its id, with a key.
struct Binding {
    bind: fn(&AdminKeys),
    verdict: VerifyError,
    later: fn(&AdminKeys) -> Issued,
}

const BINDINGS: [Binding; 2] = [
    Binding {
        bind: |admin| assert_eq!(admin.revoke_all(&owner("org"), None).unwrap().revoked, KEYS),
        verdict: VerifyError::Rejected(RejectReason::Revoked),
        later: |admin| admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap(),
    },
    Binding {
        bind: |admin| {
            let _ = admin.suspend_owner(&owner("org")).unwrap();
            admin.purge_owner(&owner("org")).unwrap();
        },
        verdict: VerifyError::Unrecognized,
        later: |admin| {
            let create = CreateOwner::with_key(CreateKey::new(Access::Full));
            admin.create_owner(&owner("org"), create).unwrap().first_key.unwrap()
        },
    },
];

fn opened(backend: impl Backend + 'static, seed: u64) -> (Arc<Store>, AdminKeys) {
    let store = builder(&clock(), seed).without_sweeps_for_tests().open(backend).unwrap();
    let store = Arc::new(store);
    let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
    (store, admin)
}

fn answer(store: &Store, issued: &Issued) -> Result<(), VerifyError> {
    store.verify(issued.token.expose().as_bytes()).map(drop)
}

/// A backend that is shared by the stores of a test, one after the other.
#[derive(Debug)]
struct Same(Arc<dyn Backend>);

impl BackendLayer for Same {
    fn inner(&self) -> &dyn Backend {
        &*self.0
    }
}

/// Stops at a piece, opens again, and looks at every answer before, between and after the others.
fn stop(open: &dyn Fn() -> Arc<dyn Backend>, at: (usize, Stop), binding: &Binding) {
    let Binding { bind, verdict, later } = binding;
    let pieces = Arc::<AtomicUsize>::default();
    let (store, admin) = opened(Stopping { inner: open(), at, pieces }, 1);
    admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap();
    let create = |_| admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let keys: Vec<Issued> = (0..KEYS).map(create).collect();
    let first = CreateOwner::with_key(CreateKey::new(Access::Full));
    let other = admin.create_owner(&owner("other"), first).unwrap().first_key.unwrap();
    bind(&admin);
    assert!(store.finish_sweeps().is_err(), "it stops at {at:?}");
    let all_are = |store: &Store| {
        let wrong = |issued: &&Issued| answer(store, issued) != Err(*verdict);
        assert_eq!(keys.iter().filter(wrong).count(), 0, "stopped at {at:?}");
        assert_eq!(answer(store, &other), Ok(()), "stopped at {at:?}");
    };
    all_are(&store);
    drop((store, admin));

    let (store, admin) = opened(Same(open()), 2);
    all_are(&store);
    let later = later(&admin);
    for piece in 0..=PIECES {
        assert_eq!(answer(&store, &later), Ok(()), "after {piece} pieces, stopped at {at:?}");
        all_are(&store);
        store.work_sweeps_for_tests(1).unwrap();
    }
    assert_eq!(store.finish_sweeps().unwrap(), 0, "the pieces are written, stopped at {at:?}");
    assert_eq!(store.check().unwrap(), []);
    let (of_keys, ended) = events_of_pieces(&admin);
    assert!(keys.iter().all(|issued| of_keys.get(&issued.key.id) == Some(&1)), "{at:?}");
    assert_eq!((of_keys.len(), ended), (KEYS, 1), "stopped at {at:?}");
    drop((store, admin));

    let (store, admin) = opened(Same(open()), 3);
    all_are(&store);
    assert_eq!(answer(&store, &later), Ok(()));
    assert_eq!(admin.count(&ListKeys::new().owner(owner("org"))).unwrap(), 1);
}

/// Stops at each piece in each way, on a backend that `fresh` makes for each.
fn at_each(fresh: impl Fn() -> Box<dyn Fn() -> Arc<dyn Backend>>) {
    for nth in 0..PIECES {
        for way in [Stop::Before, Stop::After] {
            BINDINGS.iter().for_each(|binding| stop(&*fresh(), (nth, way), binding));
        }
    }
}

#[test]
fn pieces_go_on_where_memory_stopped() {
    at_each(|| {
        let memory: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
        Box::new(move || Arc::clone(&memory))
    });
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn pieces_go_on_where_sqlite_stopped() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    let dirs = std::sync::Mutex::new(Vec::new());
    at_each(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.db");
        dirs.lock().unwrap().push(dir);
        Box::new(move || {
            let options = SqliteOptions::exclusive().sync_off_for_tests();
            Arc::new(Sqlite::open_or_create(&path, options).unwrap().0)
        })
    });
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn pieces_go_on_where_sled_stopped() {
    use keyhasp::backend::sled::{Sled, SledOptions};
    let dirs = std::sync::Mutex::new(Vec::new());
    at_each(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        dirs.lock().unwrap().push(dir);
        Box::new(move || {
            let options = SledOptions::default().sync_off_for_tests();
            Arc::new(Sled::open_or_create(&path, options).unwrap().0)
        })
    });
}
