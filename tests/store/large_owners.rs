//! Changes of owners with many keys.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(feature = "sqlite")]
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, KeyPage, KeyPageQuery, Memory, Scanned,
};
use keyhasp::key::RejectReason;
use keyhasp::{
    Access, CreateKey, CreateOwner, Expiry, OwnerId, OwnerKeys, Token, UpdateOwner, VerifyError,
};

use crate::common::{World, owner};

/// So many that the store doesn't put them again at once.
const MANY: usize = 600;

/// The largest number of keys that may be read while commits wait.
const PIECE: usize = 256;

/// A backend that counts how the keys of owners are read.
#[derive(Debug)]
struct Counting<B> {
    inner: B,
    reads: Arc<Reads>,
}

#[derive(Debug, Default)]
struct Reads {
    /// The next page fails.
    fails: AtomicBool,
    /// Owners whose keys were all read at once.
    whole: AtomicUsize,
    pages: AtomicUsize,
    largest_page: AtomicUsize,
    /// The owner whose last page is shown again and again.
    endless: Mutex<Option<OwnerId>>,
    /// How often it was.
    again: AtomicUsize,
}

/// The number of pages after which an endless reading ends after all: others have waited in vain.
const ENDLESS: usize = 5_000;

impl<B: Backend> BackendLayer for Counting<B> {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.reads.whole.fetch_add(1, Ordering::SeqCst);
        self.inner.scan_owner(owner, visit)
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        if self.reads.fails.swap(false, Ordering::SeqCst) {
            return Err(BackendError::new(BackendErrorKind::Io, "counting", "page keys"));
        }
        self.reads.pages.fetch_add(1, Ordering::SeqCst);
        self.reads.largest_page.fetch_max(query.examine, Ordering::SeqCst);
        let mut page = self.inner.page_keys(query)?;
        let mut endless = self.reads.endless.lock().unwrap();
        if endless.is_some() && *endless == query.filter.owner && page.next.is_none() {
            page.next = query.before;
            if self.reads.again.fetch_add(1, Ordering::SeqCst) == ENDLESS {
                *endless = None;
            }
        }
        Ok(page)
    }
}

impl Reads {
    /// The keys of an owner are read without an end from now on.
    fn begin_endless(&self, id: &str) {
        *self.endless.lock().unwrap() = Some(owner(id));
    }

    /// Lets that reading end; returns whether it had no end until now.
    fn end_endless(&self) -> bool {
        self.endless.lock().unwrap().take().is_some()
    }

    fn taken(&self) -> (usize, usize) {
        (self.whole.swap(0, Ordering::SeqCst), self.pages.swap(0, Ordering::SeqCst))
    }
}

fn large(backend: impl Backend) -> (World, Arc<Reads>) {
    let reads = Arc::<Reads>::default();
    let counting = Counting { inner: backend, reads: Arc::clone(&reads) };
    (World::with(|builder| builder, counting), reads)
}

/// An owner with many standard keys; returns their tokens.
fn create(world: &World, id: &str) -> (OwnerKeys, Vec<Token>) {
    let request = CreateOwner::with_key(CreateKey::new(Access::Full)).max_keys(10 * MANY as u32);
    let (keys, first) = world.owner_with(id, request);
    let others = (1..MANY).map(|_| keys.create(CreateKey::new(Access::Full)).unwrap().token);
    let tokens = std::iter::once(first.token).chain(others).collect();
    (keys, tokens)
}

fn permissions(world: &World, token: &Token) -> usize {
    world.verifier.verify(token.expose()).unwrap().permissions().len()
}

fn limit(world: &World, access: Access) {
    limit_of(world, "org", access);
}

fn limit_of(world: &World, id: &str, access: Access) {
    world.admin.update_owner(&owner(id), UpdateOwner::new().max_access(access)).unwrap();
}

/// A lower maximum access holds for each key but a trial when the call returns, and so does a higher
/// one.
#[test]
fn a_maximum_access_holds_when_the_call_returns() {
    let (world, reads) = large(Memory::new());
    let (_, tokens) = create(&world, "org");
    let trial =
        world.admin.create(&owner("org"), CreateKey::trial(Access::Full, Expiry::Never)).unwrap();
    reads.taken();
    for _ in 0..5 {
        limit(&world, Access::limited(["links:read"]).unwrap());
        assert!(tokens.iter().all(|token| permissions(&world, token) == 1));
        assert_eq!(permissions(&world, &trial.token), 4);
        assert_eq!(reads.taken(), (0, 0), "the slots tell enough");
        limit(&world, Access::limited(["links:*"]).unwrap());
        assert!(tokens.iter().all(|token| permissions(&world, token) == 2));
        limit(&world, Access::Full);
        assert!(tokens.iter().all(|token| permissions(&world, token) == 4));
        assert_eq!(reads.taken().0, 0, "never all at once");
    }
    assert!(reads.largest_page.load(Ordering::SeqCst) <= PIECE);
}

/// Tokens of before are superseded when the call returns, those of after never.
#[test]
fn an_invalidation_holds_when_the_call_returns() {
    let (world, reads) = large(Memory::new());
    let (keys, tokens) = create(&world, "org");
    world.clock.advance(Duration::from_secs(1));
    let now = world.now();
    reads.taken();
    world.admin.invalidate_owner_tokens_issued_before(&owner("org"), now).unwrap();
    let superseded = VerifyError::Rejected(RejectReason::Superseded);
    for token in &tokens {
        assert_eq!(world.verifier.verify(token.expose()).unwrap_err(), superseded);
    }
    assert_eq!(reads.taken().0, 0, "never all at once");
    let fresh = keys.create(CreateKey::new(Access::Full)).unwrap();
    assert!(world.verifier.verify(fresh.token.expose()).is_ok());
}

/// A suspension, a resumption and other settings touch no key.
#[test]
fn a_suspension_reads_no_key() {
    let (world, reads) = large(Memory::new());
    let (_, tokens) = create(&world, "org");
    reads.taken();
    world.admin.suspend_owner(&owner("org")).unwrap();
    let suspended = VerifyError::Rejected(RejectReason::Suspended);
    for token in &tokens {
        assert_eq!(world.verifier.verify(token.expose()).unwrap_err(), suspended);
    }
    world.admin.resume_owner(&owner("org")).unwrap();
    world.admin.update_owner(&owner("org"), UpdateOwner::new().max_keys(MANY as u32)).unwrap();
    assert!(tokens.iter().all(|token| world.verifier.verify(token.expose()).is_ok()));
    assert_eq!(reads.taken(), (0, 0));
}

/// No token of before is accepted while the keys can't be read, and the store reads them by itself as
/// soon as it can.
#[test]
fn a_reading_that_fails_lets_nothing_in() {
    let (world, reads) = large(Memory::new());
    let (keys, tokens) = create(&world, "org");
    let (_, other) = world.owner("other");
    world.clock.advance(Duration::from_secs(1));
    reads.fails.store(true, Ordering::SeqCst);
    world.admin.invalidate_owner_tokens_issued_before(&owner("org"), world.now()).unwrap();
    assert!(!reads.fails.load(Ordering::SeqCst), "nothing was read");
    let fresh = keys.create(CreateKey::new(Access::Full)).unwrap();
    assert!(tokens.iter().all(|token| world.verifier.verify(token.expose()).is_err()));
    assert!(world.verifier.verify(other.token.expose()).is_ok());
    let superseded = VerifyError::Rejected(RejectReason::Superseded);
    for token in &tokens {
        while world.verifier.verify(token.expose()).unwrap_err() != superseded {
            std::thread::yield_now();
        }
    }
    assert!(world.verifier.verify(fresh.token.expose()).is_ok());
}

/// A change of one owner doesn't wait for the reading of another one's keys.
#[test]
fn a_caller_waits_for_no_other_owner() {
    let (world, reads) = large(Memory::new());
    let (_, larger) = create(&world, "larger");
    let (_, other) = create(&world, "other");
    for id in ["larger", "other"] {
        limit_of(&world, id, Access::limited(["links:read"]).unwrap());
    }
    reads.begin_endless("larger");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| limit_of(&world, "larger", Access::Full));
        while reads.again.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        limit_of(&world, "other", Access::Full);
        assert!(reads.end_endless(), "the other owner waited");
        waiting.join().unwrap();
    });
    for token in larger.iter().chain(&other) {
        assert_eq!(permissions(&world, token), 4);
    }
}

/// Another process answers for an owner as soon as its own keys were read, and fills the slots of
/// others, whatever else it has to read.
#[cfg(feature = "sqlite")]
#[test]
fn another_process_reads_owners_in_turn() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::shared(Duration::from_secs(1)).unwrap();
    let open = || Sqlite::open_or_create(directory.path().join("keys.db"), options).unwrap().0;
    let (here, _) = large(open());
    let (_, larger) = create(&here, "larger");
    let (_, other) = create(&here, "other");
    let (there, reads) = large(open());
    reads.begin_endless("larger");
    here.clock.advance(Duration::from_secs(1));
    let superseded = Err(VerifyError::Rejected(RejectReason::Superseded));
    let invalidate = |id: &str| {
        here.admin.invalidate_owner_tokens_issued_before(&owner(id), here.now()).unwrap();
    };
    let await_answer = |tokens: &[Token]| {
        for token in tokens {
            while there.verifier.verify(token.expose()).map(|_| ()) != superseded {
                std::thread::yield_now();
            }
        }
    };
    invalidate("larger");
    while reads.again.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    invalidate("other");
    await_answer(&other);
    assert!(reads.end_endless(), "the other owner waited");
    await_answer(&larger);
}

/// Another process learns of a suspension, of settings and of a lower maximum access without a look at
/// a key; of an invalidation by pages. It answers for other owners meanwhile.
#[cfg(feature = "sqlite")]
#[test]
fn another_process_follows_without_reading_all_keys() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::shared(Duration::from_secs(1)).unwrap();
    let open = || Sqlite::open_or_create(directory.path().join("keys.db"), options).unwrap().0;
    let (here, _) = large(open());
    let (_, tokens) = create(&here, "org");
    let (_, other) = here.owner("other");
    let (there, reads) = large(open());
    let eventually = |expected: &dyn Fn(&World, &Token) -> bool| {
        for token in &tokens {
            while !expected(&there, token) {
                assert!(there.verifier.verify(other.token.expose()).is_ok());
                std::thread::yield_now();
            }
        }
    };
    reads.taken();
    here.admin.suspend_owner(&owner("org")).unwrap();
    let suspended = Err(VerifyError::Rejected(RejectReason::Suspended));
    let answer = |world: &World, token: &Token| world.verifier.verify(token.expose()).map(|_| ());
    eventually(&|there, token| answer(there, token) == suspended);
    here.admin.resume_owner(&owner("org")).unwrap();
    eventually(&|there, token| answer(there, token) == Ok(()));
    here.admin.update_owner(&owner("org"), UpdateOwner::new().max_keys(MANY as u32)).unwrap();
    limit(&here, Access::limited(["links:read"]).unwrap());
    eventually(&|there, token| permissions(there, token) == 1);
    assert_eq!(reads.taken(), (0, 0));
    here.clock.advance(Duration::from_secs(1));
    here.admin.invalidate_owner_tokens_issued_before(&owner("org"), here.now()).unwrap();
    let superseded = Err(VerifyError::Rejected(RejectReason::Superseded));
    eventually(&|there, token| answer(there, token) == superseded);
    let (whole, pages) = reads.taken();
    assert!(whole == 0 && pages > 0, "{whole}, {pages}");
    assert!(reads.largest_page.load(Ordering::SeqCst) <= PIECE);
}
