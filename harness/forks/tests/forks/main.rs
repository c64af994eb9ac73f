//! A store in a process that forks. The child is refused, at once where it would write and within 3
//! seconds where it verifies; and whatever it does, the parent and its database are as they were.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // It is a test.
#![cfg(target_os = "linux")]

mod child;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use child::forked;
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendErrorKind, Memory};
use keyhasp::store::Unavailable;
use keyhasp::{
    Access, AdminKeys, AlertSettings, Catalogue, CreateKey, CreateOwner, Error, KeyStore,
    ListEvents, ListOwners, OwnerId, Prefix, Quota, SetLimits, Store, Timestamp, UsageSettings,
    Verifier, VerifyError, VerifyRequest,
};
use tempfile::tempdir;

/// The promised time in which a child stops to verify, and what the kernel's coarse clock adds.
const STOPS: Duration = Duration::from_millis(3_000 + 20);

/// The number of children while other threads commit.
const FORKS: usize = 50;

/// The backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Memory,
    Exclusive,
    Shared,
    Sled,
}

impl Engine {
    fn open(self, directory: &Path) -> Result<Arc<dyn Backend>, BackendError> {
        let file = directory.join("keys.db");
        // Never stale: what stops the child is the fork.
        let shared = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
        Ok(match self {
            Self::Memory => Arc::new(Memory::new()),
            Self::Exclusive => {
                Arc::new(Sqlite::open_or_create(file, SqliteOptions::exclusive())?.0)
            }
            Self::Shared => Arc::new(Sqlite::open_or_create(file, shared)?.0),
            Self::Sled => {
                Arc::new(Sled::open_or_create(directory.join("keys"), SledOptions::default())?.0)
            }
        })
    }

    fn open_store(self, directory: &Path) -> Result<Arc<Store>, Error> {
        let builder = Store::builder(
            Catalogue::builder().read("links:read").build().unwrap(),
            [Prefix::new("acme").unwrap()],
        );
        // Uses and the rest of a lease wait in memory: a child that dropped them would write them.
        let usage = UsageSettings::new().counts();
        let builder = builder.usage(usage).alerts(AlertSettings::new().expiries());
        Ok(Arc::new(builder.open_on(self.open(directory)?)?))
    }

    /// Returns whether a second opener is kept out. A shared database is held against an exclusive
    /// one.
    fn is_held(self, directory: &Path) -> bool {
        let second = match self {
            Self::Memory => return true,
            Self::Exclusive | Self::Shared => Self::Exclusive,
            Self::Sled => Self::Sled,
        };
        second.open(directory).is_err_and(|error| error.kind() == BackendErrorKind::AlreadyOpen)
    }
}

fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

/// Fails with this text if the answer isn't `Forked`.
fn expect_forked<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) -> Result<(), String> {
    match answer {
        Err(Error::Unavailable(Unavailable::Forked)) => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    }
}

/// A store with a key, and another whose quota is leased.
struct World {
    store: Arc<Store>,
    admin: AdminKeys,
    verifier: Verifier,
    token: String,
}

impl World {
    fn of(store: Arc<Store>) -> Self {
        let port = || Arc::clone(&store) as Arc<dyn KeyStore>;
        let (admin, verifier) = (AdminKeys::new(port(), "root").unwrap(), Verifier::new(port()));
        Self { store, admin, verifier, token: String::new() }
    }

    fn with_key(mut self) -> Self {
        let key = CreateKey::new(Access::Full);
        let request = CreateOwner::with_key(key.clone());
        let made = self.admin.create_owner(&owner("acme"), request).unwrap().first_key.unwrap();
        made.token.expose().clone_into(&mut self.token);
        let limits = SetLimits::new().quota(Quota::one_time(1_000).unwrap());
        let limited = self.admin.create(&owner("acme"), key.limits(limits)).unwrap();
        // The rest of its lease waits in memory, as the use of the first does.
        assert!(self.verifies(limited.token.expose()) && self.verifies(&self.token));
        self
    }

    /// What a child meets at once.
    fn refuses(&self) -> Result<(), String> {
        let owner = owner("child");
        expect_forked("commit", self.admin.create_owner(&owner, CreateOwner::without_key()))?;
        expect_forked("refresh", self.store.refresh())?;
        expect_forked("flush of usage", self.store.flush_usage())?;
        expect_forked("recovery", self.store.recover())?;
        expect_forked("alerts", self.store.run_alerts())?;
        expect_forked("look at files", self.store.check_files())?;
        expect_forked("list", self.admin.list_owners(&ListOwners::new()))?;
        expect_forked("events", self.admin.events(&ListEvents::new()))?;
        expect_forked("wait", self.store.wait_for_event(0, Duration::ZERO))?;
        expect_forked("identify", self.admin.identify(&self.token))?;
        expect_forked("prune", self.admin.prune_events(Timestamp::MIN))?;
        expect_forked("backup", self.store.backup("nowhere", |_| ()))?;
        if self.store.health().unavailable != Some(Unavailable::Forked) {
            return Err("the child's health".into());
        }
        expect_forked("close", self.store.close())
    }

    /// What a child meets in time.
    fn stops(&self, forked_at: Instant) -> Result<(), String> {
        loop {
            let asked = forked_at.elapsed();
            match self.verifier.verify(&self.token) {
                Err(VerifyError::Unavailable(Unavailable::Forked)) => return Ok(()),
                Ok(_) if asked <= STOPS => std::thread::sleep(Duration::from_millis(1)),
                other => return Err(format!("after {asked:?}: {other:?}")),
            }
        }
    }

    fn events(&self) -> usize {
        self.admin.events(&ListEvents::new()).unwrap().items.len()
    }

    fn verifies(&self, token: &str) -> bool {
        self.verifier.verify(token).is_ok()
    }
}

fn a_child_is_refused_and_the_parent_goes_on(engine: Engine) {
    let directory = tempdir().unwrap();
    let place = directory.path();
    let mut kept = Some(World::of(engine.open_store(place).unwrap()).with_key());
    let forked_at = Instant::now();
    let done = forked(|| {
        // Out of the child's copy of the memory. At the end the child drops the store.
        let world = kept.take().ok_or("no world")?;
        world.refuses()?;
        world.stops(forked_at)
    });
    assert_eq!(done, Ok(()), "{engine:?}");
    // Shown with `--nocapture`.
    eprintln!(
        "{engine:?}: `Forked`, and the child's end, {:?} after the fork",
        forked_at.elapsed()
    );

    let world = kept.unwrap();
    assert!(engine.is_held(place), "{engine:?}: the child let go of the parent's lock");
    world.store.check_files().unwrap();
    assert!(world.verifies(&world.token));
    world.admin.create_owner(&owner("parent"), CreateOwner::without_key()).unwrap();
    let (events, token) = (world.events(), world.token.clone());
    world.store.close().unwrap();
    drop(world);
    if engine == Engine::Memory {
        return;
    }
    let again = World::of(engine.open_store(place).unwrap());
    assert_eq!(again.events(), events, "{engine:?}");
    again.admin.owner(&owner("parent")).unwrap();
    assert!(again.admin.owner(&owner("child")).is_err());
    assert!(again.verifies(&token));
    let id = again.admin.identify(&token).unwrap().unwrap().key.id;
    let accepted = again.admin.get(id).unwrap().usage.and_then(|usage| usage.accepted);
    assert_eq!(accepted, Some(3), "{engine:?}: each use of the parent once, and none of the child");
    again.store.close().unwrap();
    if engine != Engine::Sled {
        let file = rusqlite::Connection::open(place.join("keys.db")).unwrap();
        let sound = file.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(sound.unwrap(), "ok");
    }
}

#[test]
fn in_memory() {
    a_child_is_refused_and_the_parent_goes_on(Engine::Memory);
}

#[test]
fn on_sqlite() {
    a_child_is_refused_and_the_parent_goes_on(Engine::Exclusive);
}

#[test]
fn on_shared_sqlite() {
    a_child_is_refused_and_the_parent_goes_on(Engine::Shared);
}

#[test]
fn on_sled() {
    a_child_is_refused_and_the_parent_goes_on(Engine::Sled);
}

/// A verification that waits for a lease at the fork is refused in the child, which can drop it, and is
/// served in the parent.
#[test]
fn a_wait_is_the_parents() {
    let directory = tempdir().unwrap();
    let world = World::of(Engine::Memory.open_store(directory.path()).unwrap()).with_key();
    let limits = SetLimits::new().quota(Quota::one_time(1_000).unwrap());
    let key = CreateKey::new(Access::Full).limits(limits);
    let limited = world.admin.create(&owner("acme"), key).unwrap();
    let request = VerifyRequest::new(limited.token.expose().as_bytes());
    let mut wait = None;
    let mut poll = || {
        let mut context = Context::from_waker(Waker::noop());
        world.verifier.poll_verify(&request, &mut wait, &mut context)
    };
    assert!(poll().is_pending());
    let done = forked(|| match poll() {
        Poll::Ready(Err(VerifyError::Unavailable(Unavailable::Forked))) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(done, Ok(()));
    let answer = loop {
        match poll() {
            Poll::Ready(answer) => break answer,
            Poll::Pending => std::thread::yield_now(),
        }
    };
    assert!(answer.is_ok(), "{answer:?}");
}

/// The child has a copy of each lock that a thread of the parent holds at the fork, and no thread
/// that would release it.
#[test]
fn a_child_waits_for_no_lock_of_a_thread_that_it_lacks() {
    for engine in [Engine::Memory, Engine::Exclusive, Engine::Shared, Engine::Sled] {
        let directory = tempdir().unwrap();
        let world = World::of(engine.open_store(directory.path()).unwrap()).with_key();
        let is_over = AtomicBool::new(false);
        let busy = |name: &str| {
            let (owner, mut rounds) = (owner(name), 0);
            while !is_over.load(Ordering::SeqCst) {
                world.admin.create_owner(&owner, CreateOwner::without_key()).unwrap();
                world.admin.list_owners(&ListOwners::new()).unwrap();
                world.admin.suspend_owner(&owner).unwrap();
                world.admin.purge_owner(&owner).unwrap();
                rounds += 1;
            }
            rounds
        };
        std::thread::scope(|scope| {
            let busy = ["a", "b"].map(|name| scope.spawn(move || busy(name)));
            let done: Result<(), String> = (0..FORKS).try_for_each(|_| forked(|| world.refuses()));
            is_over.store(true, Ordering::SeqCst);
            assert_eq!(done, Ok(()), "{engine:?}");
            assert!(busy.map(|thread| thread.join().unwrap()).iter().all(|rounds| *rounds > 0));
        });
        world.store.close().unwrap();
    }
}

/// Backends that no store was opened on: no thread of a store keeps them in the child's memory, so
/// that dropping one there is its end.
#[test]
fn a_backend_that_a_child_drops_stays_the_parents() {
    for engine in [Engine::Exclusive, Engine::Shared, Engine::Sled] {
        let directory = tempdir().unwrap();
        let place = directory.path();
        drop(World::of(engine.open_store(place).unwrap()).with_key());
        let mut kept = Some(engine.open(place).unwrap());
        assert!(kept.as_ref().unwrap().last_event().unwrap() > 0);
        let log = || std::fs::metadata(place.join("keys.db-wal")).ok().map(|log| log.len());
        let before = log();
        let done = forked(|| {
            drop(kept.take().ok_or("no backend")?);
            Ok(())
        });
        assert_eq!(done, Ok(()), "{engine:?}");
        let backend = kept.unwrap();
        assert!(engine.is_held(place), "{engine:?}: the child let go of the parent's lock");
        assert_eq!(log(), before);
        backend.check_files().unwrap();
        backend.close().unwrap();
        assert!(!engine.is_held(place));
        drop(World::of(engine.open_store(place).unwrap()));
    }
}
