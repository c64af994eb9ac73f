//! Two stores on one SQLite file, as two processes have them.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{HOUR, World, builder, clock, owner};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::key::{LimitHolder, RejectReason};
use keyhasp::store::{StoreBuilder, Unavailable};
use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, Error, Issued, KeyStore, ManualClock, Peppers,
    Quota, Rotate, SetLimits, Store, StoreRules, SystemClock, Timestamp, Token, UpdateKey,
    UpdateOwner, Verifier, VerifyError, VerifyRequest,
};

const BOUND: Duration = Duration::from_secs(1);
/// After so long what should happen by itself never does. Only a defect waits for the end of this.
const PATIENCE: Duration = Duration::from_secs(600);

struct Pair {
    a: World,
    b: World,
    _directory: tempfile::TempDir,
}

/// A process that opens and closes beside others may wait for them.
fn shared(bound: Duration) -> SqliteOptions {
    SqliteOptions::shared(bound).unwrap().busy_timeout(PATIENCE / 2).unwrap()
}

/// Two stores whose clocks are set by hand: nothing goes stale by itself.
fn pair() -> Pair {
    pair_with(|builder| builder)
}

fn pair_with(configure: impl Fn(StoreBuilder) -> StoreBuilder) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let open = |seed| {
        let clock = clock();
        let backend = Sqlite::open_or_create(&path, shared(BOUND)).unwrap().0;
        let store = configure(builder(&clock, seed)).open(backend).unwrap();
        World::of(Arc::new(store), clock)
    };
    let (a, b) = (open(1), open(2));
    Pair { a, b, _directory: directory }
}

/// Waits until the store's own polling has led to an answer; it has as long as a slow machine may
/// take.
fn eventually(world: &World, token: &Token, expected: Result<(), VerifyError>) -> Duration {
    let started = Instant::now();
    while world.verifier.verify(token.expose()).map(|_| ()) != expected {
        let last = world.verifier.verify(token.expose()).map(|_| ());
        assert!(started.elapsed() < PATIENCE, "still {last:?} instead of {expected:?}");
        std::thread::yield_now();
    }
    started.elapsed()
}

#[test]
fn what_one_process_does_is_in_force_in_the_other() {
    let Pair { a, b, _directory } = pair();
    let (keys, first) = a.owner("org");
    eventually(&b, &first.token, Ok(()));
    let second = keys.rotate(first.key.id, Rotate::forced()).unwrap();
    eventually(&b, &first.token, Err(VerifyError::Unrecognized));
    eventually(&b, &second.token, Ok(()));
    // Each sees its own changes at once, also where the other changed the same record before.
    let blocked = b.admin.block(first.key.id).unwrap().whole().unwrap();
    assert_eq!(blocked.version.get(), 3);
    let is_blocked = Err(VerifyError::Rejected(RejectReason::Blocked));
    assert_eq!(b.verifier.verify(second.token.expose()).map(|_| ()), is_blocked);
    eventually(&a, &second.token, is_blocked);
    a.admin.unblock(first.key.id).unwrap();
    eventually(&b, &second.token, Ok(()));
    let narrowed = UpdateOwner::new().max_access(Access::limited(["links:read"]).unwrap());
    b.admin.update_owner(&owner("org"), narrowed).unwrap();
    let started = Instant::now();
    while a.verifier.verify(second.token.expose()).unwrap().permissions().len() != 1 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    a.admin.suspend_owner(&owner("org")).unwrap();
    eventually(&b, &second.token, Err(VerifyError::Rejected(RejectReason::Suspended)));
    b.admin.purge_owner(&owner("org")).unwrap();
    eventually(&a, &second.token, Err(VerifyError::Unrecognized));
}

/// Details of keys are as current as the index, in each process.
#[test]
fn details_reach_the_other_process() {
    let Pair { a, b, _directory } = pair_with(|builder| builder.key_details(["plan"]));
    let (keys, first) = a.owner("org");
    eventually(&b, &first.token, Ok(()));
    let verified = b.verifier.verify(first.token.expose()).unwrap();
    let shown = || {
        let details = b.verifier.details(&verified)?;
        Some((details.name().map(str::to_owned), details.setting("plan").cloned()))
    };
    let awaited = |expected| {
        let started = Instant::now();
        while shown() != expected {
            assert!(started.elapsed() < PATIENCE, "still {:?}", shown());
            std::thread::yield_now();
        }
    };
    awaited(Some((None, None)));
    keys.update(first.key.id, UpdateKey::new().name("laptop")).unwrap();
    awaited(Some((Some("laptop".into()), None)));
    let free = UpdateOwner::new().defaults(serde_json::json!({ "plan": "free" }));
    a.admin.update_owner(&owner("org"), free).unwrap();
    awaited(Some((Some("laptop".into()), Some("free".into()))));
    a.admin.revoke(first.key.id).unwrap();
    a.admin.purge(first.key.id).unwrap();
    awaited(None);
}

#[test]
fn an_issue_mark_reaches_the_other_process() {
    let Pair { a, b, _directory } = pair();
    let (_, first) = a.owner("org");
    eventually(&b, &first.token, Ok(()));
    for world in [&a, &b] {
        world.clock.set(world.after(HOUR));
    }
    a.admin.invalidate_tokens_issued_before(a.now()).unwrap();
    eventually(&b, &first.token, Err(VerifyError::Rejected(RejectReason::Superseded)));
    // Both go on issuing.
    for world in [&a, &b] {
        let issued = world.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
        assert!(world.verifier.verify(issued.token.expose()).is_ok());
    }
}

/// B knows by its own clock that it heard nothing for longer than the bound.
#[test]
fn a_store_that_cannot_tell_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let clock = clock();
    let open = |clock: &Arc<ManualClock>, bound| {
        let backend = Sqlite::open_or_create(&path, shared(bound)).unwrap().0;
        let store: Arc<Store> = Arc::new(builder(clock, 1).open(backend).unwrap());
        store
    };
    // Polls once in a quarter of an hour: in this test, never after the opening.
    let store = open(&clock, HOUR);
    let world = World::of(Arc::<Store>::clone(&store), Arc::clone(&clock));
    let (_, first) = world.owner("org");
    store.refresh().unwrap();
    clock.advance(HOUR);
    assert!(world.verifier.verify(first.token.expose()).is_ok());
    clock.advance(Duration::from_millis(1));
    let stale = VerifyError::Unavailable(Unavailable::Stale);
    // A bad token too: it may have been issued elsewhere a moment ago.
    let unknown = first.token.expose().replace('a', "b").replacen("bcme", "acme", 1);
    for token in [first.token.expose(), &unknown] {
        assert_eq!(world.verifier.verify(token), Err(stale));
    }
    assert_eq!(world.verifier.verify("malformed"), Err(VerifyError::Unrecognized));
    assert_eq!(world.store.health().unavailable, Some(Unavailable::Stale));
    store.refresh().unwrap();
    assert!(world.verifier.verify(first.token.expose()).is_ok());
}

#[test]
fn other_processes_open_anew_when_the_rules_change() {
    let Pair { a, b, _directory } = pair();
    let (_, first) = a.owner("org");
    eventually(&b, &first.token, Ok(()));
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    a.admin.change_rules(ChangeRules::new().rules(rules)).unwrap();
    eventually(&b, &first.token, Err(VerifyError::Unavailable(Unavailable::RulesChanged)));
    let refused = b.admin.block(first.key.id);
    assert!(matches!(refused, Err(Error::Unavailable(Unavailable::RulesChanged))));
    assert!(a.verifier.verify(first.token.expose()).is_ok());
}

/// A store that polls so seldom that in a test it only does when it is told.
fn sleeper(directory: &tempfile::TempDir, seed: u64) -> (World, Arc<Store>) {
    let path = directory.path().join("keys.db");
    let backend = Sqlite::open_or_create(path, shared(HOUR)).unwrap().0;
    let clock = clock();
    let store = Arc::new(builder(&clock, seed).open(backend).unwrap());
    (World::of(Arc::<Store>::clone(&store), clock), store)
}

/// A process that slept past the log's pruning reads every record again.
#[test]
fn a_reader_that_was_pruned_past_finds_its_way_back() {
    let directory = tempfile::tempdir().unwrap();
    let open = |seed| sleeper(&directory, seed);
    let (a, _) = open(1);
    let (_, gone) = a.owner("gone");
    let (_, stays) = a.owner("stays");
    let (b, sleeper) = open(2);
    a.admin.suspend_owner(&owner("gone")).unwrap();
    a.admin.purge_owner(&owner("gone")).unwrap();
    a.admin.revoke(stays.key.id).unwrap();
    let (_, fresh) = a.owner("fresh");
    assert!(a.admin.prune_events(Timestamp::MAX).unwrap() > 0);
    assert!(b.verifier.verify(gone.token.expose()).is_ok());
    sleeper.refresh().unwrap();
    let verify = |token: &Token| b.verifier.verify(token.expose()).map(|_| ());
    assert_eq!(verify(&gone.token), Err(VerifyError::Unrecognized));
    assert_eq!(verify(&stays.token), Err(VerifyError::Rejected(RejectReason::Revoked)));
    assert_eq!(verify(&fresh.token), Ok(()));
}

/// The mark of the store is not lost with the events that told of it.
#[test]
fn a_reader_that_was_pruned_past_a_mark_learns_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let open = |seed| sleeper(&directory, seed);
    let (a, _) = open(1);
    let (_, first) = a.owner("org");
    let (b, sleeper) = open(2);
    a.clock.advance(HOUR / 2);
    a.admin.invalidate_tokens_issued_before(a.now()).unwrap();
    a.owner("other");
    a.admin.prune_events(Timestamp::MAX).unwrap();
    sleeper.refresh().unwrap();
    let refused = b.verifier.verify(first.token.expose()).map(|_| ());
    assert_eq!(refused, Err(VerifyError::Rejected(RejectReason::Superseded)));
}

/// Opening while another process creates owners finds each key's owner.
#[test]
fn a_store_opens_beside_creations() {
    let directory = tempfile::tempdir().unwrap();
    let open = |seed| sleeper(&directory, seed).0;
    let a = open(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60 {
                a.owner(&format!("org-{n}"));
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut seed = 2;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            open(seed);
            seed += 1;
        }
    });
}

/// With the operating system's clocks the bound, as it is promised.
#[test]
fn a_revocation_elsewhere_is_in_force_within_the_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let open = || -> Arc<dyn KeyStore> {
        let backend = Sqlite::open_or_create(&path, shared(BOUND)).unwrap().0;
        let store = builder(&clock(), 1).clock(Arc::new(SystemClock::new()));
        Arc::new(store.random(getrandom::SysRng).open(backend).unwrap())
    };
    let (a, b) = (open(), open());
    let world = World::of(a, clock());
    let verifier = Verifier::new(b);
    let (keys, _) = world.owner("org");
    for _ in 0..5 {
        let issued = keys.create(CreateKey::new(Access::Full)).unwrap();
        let waiting = Instant::now();
        while verifier.verify(issued.token.expose()).is_err() {
            assert!(waiting.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        keys.revoke(issued.key.id).unwrap();
        let revoked = Instant::now();
        // What verifies after the bound would be a broken promise; not to answer isn't. The time is
        // that at which it is asked: an answer may be long on its way.
        let mut asked = Duration::ZERO;
        while verifier.verify(issued.token.expose()).is_ok() {
            assert!(asked < BOUND, "accepted, asked {asked:?} after");
            std::thread::yield_now();
            asked = revoked.elapsed();
        }
    }
}

/// A commit of this process reports the same errors as its polling.
#[test]
fn a_pepper_that_is_missing_after_a_commit_is_told_as_that() {
    let directory = tempfile::tempdir().unwrap();
    let open = |seed, peppers| {
        let clock = clock();
        let backend =
            Sqlite::open_or_create(directory.path().join("keys.db"), shared(PATIENCE)).unwrap().0;
        let store = builder(&clock, seed).peppers(peppers).open(backend).unwrap();
        World::of(Arc::new(store), clock)
    };
    let former = || Peppers::new(1, [1; 32]).unwrap();
    let old = open(1, former());
    let (_, issued) = old.owner("org");
    let new = open(2, Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap());
    new.admin.rotate(issued.key.id, Rotate::new()).unwrap();
    // It has not looked since.
    old.admin.block(issued.key.id).unwrap();
    assert_eq!(old.store.health().unavailable, Some(Unavailable::RulesChanged));
}

/// All leases together stay within the quota also if an owner is purged and created again.
#[test]
fn an_owner_made_anew_has_nothing_of_a_lease_of_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let open = |seed| {
        let clock = clock();
        let backend =
            Sqlite::open_or_create(directory.path().join("keys.db"), shared(PATIENCE)).unwrap().0;
        let store = Arc::new(builder(&clock, seed).open(backend).unwrap());
        (World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock), store)
    };
    let ((a, _), (b, b_store)) = (open(1), open(2));
    let limited = || {
        let limits = SetLimits::new().quota(Quota::one_time(1_600).unwrap());
        CreateOwner::with_key(CreateKey::new(Access::Full)).limits(limits)
    };
    let (_, before) = a.owner_with("org", limited());
    b_store.refresh().unwrap();
    b.verifier.verify(before.token.expose()).unwrap();
    a.admin.suspend_owner(&owner("org")).unwrap();
    a.admin.purge_owner(&owner("org")).unwrap();
    let (_, after) = a.owner_with("org", limited());
    b_store.refresh().unwrap();
    assert!(b.verifier.verify(before.token.expose()).is_err());
    let accepted = (0..2_000).filter(|_| b.verifier.verify(after.token.expose()).is_ok());
    assert_eq!(accepted.count(), 1_600);
}

fn quota_of(world: &World, uses: u64) -> Issued {
    let quota = SetLimits::new().quota(Quota::one_time(uses).unwrap());
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(quota));
    world.owner_with("org", request).1
}

/// What it says when it knows of the other's changes.
fn ask_for(world: &World, issued: &Issued, cost: u32) -> Result<(), VerifyError> {
    let started = Instant::now();
    loop {
        let request = VerifyRequest::new(issued.token.expose()).cost(cost);
        let answer = world.verifier.verify_request(&request).map(|_| ());
        if !matches!(answer, Err(VerifyError::Unavailable(_) | VerifyError::Unrecognized)) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "still {answer:?}");
        std::thread::yield_now();
    }
}

const EXHAUSTED: Result<(), VerifyError> =
    Err(VerifyError::Rejected(RejectReason::QuotaExhausted {
        holder: LimitHolder::Key,
        refilled_at: None,
    }));

#[test]
fn a_use_that_costs_too_much_here_refuses_nothing_there() {
    let Pair { a, b, _directory } = pair();
    let issued = quota_of(&a, 16_000);
    assert_eq!(ask_for(&a, &issued, 20_000), EXHAUSTED);
    assert_eq!(ask_for(&b, &issued, 1), Ok(()));
    assert_eq!(ask_for(&b, &issued, 15_999), Ok(()), "all of the quota");
    assert_eq!(ask_for(&a, &issued, 1), EXHAUSTED);
}

/// What was too little is asked for again a second later: another process may have put some back.
#[test]
fn what_is_put_back_there_is_found_here() {
    let Pair { a, b, _directory } = pair();
    let issued = quota_of(&a, 16_000);
    assert_eq!(ask_for(&b, &issued, 1), Ok(()));
    // Of the rest, 999 lie in the other's lease.
    assert_eq!(ask_for(&a, &issued, 15_500), EXHAUSTED);
    b.store.close().unwrap();
    assert_eq!(ask_for(&a, &issued, 15_500), EXHAUSTED);
    a.clock.advance(BOUND);
    assert_eq!(ask_for(&a, &issued, 15_500), Ok(()));
    assert_eq!(ask_for(&a, &issued, 500), EXHAUSTED, "one was used there");
    assert_eq!(ask_for(&a, &issued, 499), Ok(()));
}
