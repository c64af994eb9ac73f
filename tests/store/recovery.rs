//! Changes of unknown outcome: what is answered meanwhile, and afterwards.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::keep_open::{KeepOpen, Point};
use crate::common::{HOUR, World, builder, clock, owner};
use keyhasp::backend::{BackendErrorKind, Memory};
use keyhasp::key::RejectReason;
use keyhasp::store::{Explanation, ObstacleKind, Unavailable};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, Clock, CreateKey, CreateOwner, Error, Issued, ManualClock, Quota, Rate, Rotate,
    SetLimits, Timestamp, Token, UpdateOwner, VerifyError,
};

/// After so long what should happen by itself never does. Only a defect waits for the end of this.
const PATIENCE: Duration = Duration::from_secs(600);
const RECOVERING: VerifyError = VerifyError::Unavailable(Unavailable::Recovering);

/// The next commit fails so, and recovery too until the backend is healed: what the store tries by
/// itself can't interfere with what a test looks at.
fn fail_next_commit(backend: &Failing<Memory>, moment: Moment) {
    backend.inject(Fault { target: Target::Commits, nth: 1, moment, lasting: false });
    let unwell = Moment::Before(BackendErrorKind::Io);
    backend.inject(Fault { target: Target::Recoveries, nth: 1, moment: unwell, lasting: true });
}

fn world() -> (World, Arc<Failing<Memory>>) {
    let clock = clock();
    let backend = Arc::new(Failing::new(Memory::new()));
    let store = builder(&clock, 3).open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
    (World::of(Arc::new(store), clock), backend)
}

fn heal(world: &World, backend: &Failing<Memory>) {
    backend.heal();
    world.store.recover().unwrap();
    assert_eq!(world.store.health().unavailable, None);
}

fn verify(world: &World, token: &Token) -> Result<(), VerifyError> {
    world.verifier.verify(token.expose()).map(|_| ())
}

/// Both ways in which an outcome is unknown: it took effect, or it didn't get through.
fn moments() -> [(Moment, bool); 2] {
    [(Moment::After, true), (Moment::Before(BackendErrorKind::OutcomeUnknown), false)]
}

#[test]
fn a_revocation_of_unknown_outcome_lets_nobody_in() {
    for (moment, took_effect) in moments() {
        let (world, backend) = world();
        let (keys, first) = world.owner("org");
        let other: Issued = keys.create(CreateKey::new(Access::Full)).unwrap();
        fail_next_commit(&backend, moment);
        let revoked = keys.revoke(first.key.id);
        assert!(matches!(revoked, Err(Error::OutcomeUnknown(_))), "{revoked:?}");
        assert_eq!(verify(&world, &first.token), Err(RECOVERING));
        // Only the change's records are indeterminate, and only to a client with the secret.
        assert_eq!(verify(&world, &other.token), Ok(()));
        let mut wrong = first.token.expose().as_bytes().to_vec();
        wrong[40] ^= 1;
        assert_eq!(world.verifier.verify(&wrong), Err(VerifyError::Unrecognized));
        assert_eq!(world.store.health().unavailable, Some(Unavailable::Recovering));
        // Nothing that is recorded stands against it.
        let Explanation::Known(known) = world.admin.explain(other.token.expose()).unwrap() else {
            panic!("it was issued");
        };
        assert_eq!(known.obstacles, []);
        if !took_effect {
            let Explanation::Known(known) = world.admin.explain(first.token.expose()).unwrap()
            else {
                panic!("it was issued");
            };
            let kinds: Vec<_> = known.obstacles.iter().map(|obstacle| obstacle.kind).collect();
            assert_eq!(kinds, [ObstacleKind::Unavailable(Unavailable::Recovering)]);
        }
        // Nothing is committed meanwhile.
        let blocked = world.admin.block(other.key.id);
        assert!(matches!(blocked, Err(Error::Unavailable(Unavailable::Recovering))), "{blocked:?}");
        assert!(world.store.recover().is_err());
        heal(&world, &backend);
        let expected =
            if took_effect { Err(VerifyError::Rejected(RejectReason::Revoked)) } else { Ok(()) };
        assert_eq!(verify(&world, &first.token), expected);
        world.admin.block(other.key.id).unwrap();
        assert_eq!(verify(&world, &other.token), Err(VerifyError::Rejected(RejectReason::Blocked)));
    }
}

#[test]
fn an_owner_in_doubt_puts_all_its_keys_in_doubt() {
    for (moment, took_effect) in moments() {
        let (world, backend) = world();
        let (keys, first) = world.owner("org");
        let second = keys.create(CreateKey::new(Access::Full)).unwrap();
        let (_, elsewhere) = world.owner("elsewhere");
        fail_next_commit(&backend, moment);
        let narrowed = UpdateOwner::new().max_access(Access::ReadOnly);
        assert!(matches!(
            world.admin.update_owner(&owner("org"), narrowed),
            Err(Error::OutcomeUnknown(_))
        ));
        for issued in [&first, &second] {
            assert_eq!(verify(&world, &issued.token), Err(RECOVERING));
        }
        assert_eq!(verify(&world, &elsewhere.token), Ok(()));
        heal(&world, &backend);
        let permissions = |issued: &Issued| {
            world.verifier.verify(issued.token.expose()).unwrap().permissions().len()
        };
        let expected = if took_effect { 2 } else { 4 };
        assert_eq!([&first, &second].map(permissions), [expected; 2]);
    }
}

/// Keys of an owner that has pieces to go aren't taken for those of an earlier owner.
#[test]
fn a_purge_of_unknown_outcome_takes_no_live_key() {
    for (moment, took_effect) in moments() {
        let clock = clock();
        let backend = Arc::new(Failing::new(Memory::new()));
        let store = builder(&clock, 3).without_sweeps_for_tests();
        let store = store.open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
        let world = World::of(Arc::new(store), clock);
        let (_, first) = world.owner("org");
        let replacement = Some(CreateKey::new(Access::Full));
        let revoked = world.admin.revoke_all(&owner("org"), replacement).unwrap();
        let replacement = revoked.replacement.unwrap();
        world.admin.suspend_owner(&owner("org")).unwrap();
        fail_next_commit(&backend, moment);
        let purged = world.admin.purge_owner(&owner("org"));
        assert!(matches!(purged, Err(Error::OutcomeUnknown(_))), "{purged:?}");
        heal(&world, &backend);
        let expected = if took_effect {
            [Err(VerifyError::Unrecognized), Err(VerifyError::Unrecognized)]
        } else {
            world.admin.resume_owner(&owner("org")).unwrap();
            [Err(VerifyError::Rejected(RejectReason::Revoked)), Ok(())]
        };
        assert_eq!([&first, &replacement].map(|issued| verify(&world, &issued.token)), expected);
    }
}

#[test]
fn a_rotation_or_creation_of_unknown_outcome_is_found_out() {
    for (moment, took_effect) in moments() {
        let (world, backend) = world();
        let (keys, first) = world.owner("org");
        fail_next_commit(&backend, moment);
        let rotated = keys.rotate(first.key.id, Rotate::forced());
        assert!(matches!(rotated, Err(Error::OutcomeUnknown(_))));
        assert_eq!(verify(&world, &first.token), Err(RECOVERING));
        heal(&world, &backend);
        assert_eq!(verify(&world, &first.token).is_err(), took_effect);

        fail_next_commit(&backend, moment);
        let created = world
            .admin
            .create_owner(&owner("new"), CreateOwner::with_key(CreateKey::new(Access::Full)));
        assert!(matches!(created, Err(Error::OutcomeUnknown(_))));
        heal(&world, &backend);
        assert_eq!(world.admin.owner(&owner("new")).is_ok(), took_effect);
        let tokens = world.store.health().tokens;
        assert_eq!(tokens, if took_effect { 2 } else { 1 });
    }
}

#[test]
fn a_store_whose_own_record_is_in_doubt_answers_nothing() {
    let (world, backend) = world();
    let (_, first) = world.owner("org");
    world.clock.advance(crate::common::HOUR);
    fail_next_commit(&backend, Moment::After);
    let moved = world.admin.invalidate_tokens_issued_before(world.now());
    assert!(matches!(moved, Err(Error::OutcomeUnknown(_))));
    assert_eq!(verify(&world, &first.token), Err(RECOVERING));
    heal(&world, &backend);
    assert_eq!(verify(&world, &first.token), Err(VerifyError::Rejected(RejectReason::Superseded)));
}

/// The store finds out by itself, when it commits next or in the background.
#[test]
fn the_store_recovers_without_being_asked() {
    let (world, backend) = world();
    let (keys, first) = world.owner("org");
    backend.inject(Fault {
        target: Target::Commits,
        nth: 1,
        moment: Moment::After,
        lasting: false,
    });
    assert!(matches!(keys.revoke(first.key.id), Err(Error::OutcomeUnknown(_))));
    keys.create(CreateKey::new(Access::Full)).unwrap();
    assert_eq!(verify(&world, &first.token), Err(VerifyError::Rejected(RejectReason::Revoked)));

    let (keys, second) = world.owner("other");
    backend.inject(Fault {
        target: Target::Commits,
        nth: 1,
        moment: Moment::After,
        lasting: false,
    });
    assert!(matches!(keys.revoke(second.key.id), Err(Error::OutcomeUnknown(_))));
    let started = std::time::Instant::now();
    while verify(&world, &second.token) == Err(RECOVERING) {
        assert!(started.elapsed().as_secs() < 600, "no thread recovered");
        std::thread::yield_now();
    }
    assert_eq!(verify(&world, &second.token), Err(VerifyError::Rejected(RejectReason::Revoked)));
}

/// An error that says nothing happened is believed.
#[test]
fn a_commit_that_failed_changes_nothing() {
    let (world, backend) = world();
    let (keys, first) = world.owner("org");
    fail_next_commit(&backend, Moment::Before(BackendErrorKind::Full));
    let full = keys.revoke(first.key.id);
    assert!(matches!(full, Err(Error::Backend(error)) if error.kind() == BackendErrorKind::Full));
    assert_eq!(verify(&world, &first.token), Ok(()));
    assert_eq!(world.store.health().unavailable, None);
    keys.revoke(first.key.id).unwrap();
}

/// A `tokens_valid_from` that was committed and couldn't be published is published later.
#[test]
fn a_mark_whose_loading_failed_is_loaded_again() {
    let (world, backend) = world();
    let (_, first) = world.owner("org");
    world.clock.advance(crate::common::HOUR);
    let unreadable = Moment::Before(BackendErrorKind::Io);
    let target = Target::Reads;
    backend.inject(Fault { target, nth: 1, moment: unreadable, lasting: true });
    let unwell = Fault { target: Target::Recoveries, nth: 1, moment: unreadable, lasting: true };
    backend.inject(unwell);
    world.admin.invalidate_tokens_issued_before(world.now()).unwrap();
    assert_eq!(verify(&world, &first.token), Err(RECOVERING));
    heal(&world, &backend);
    assert_eq!(verify(&world, &first.token), Err(VerifyError::Rejected(RejectReason::Superseded)));
}

/// Pruning writes too: after an unknown outcome the store recovers before it commits.
#[test]
fn a_prune_of_unknown_outcome_does_not_end_all_writing() {
    let (world, backend) = world();
    let (keys, first) = world.owner("org");
    let moment = Moment::Before(BackendErrorKind::OutcomeUnknown);
    backend.inject(Fault { target: Target::Writes, nth: 1, moment, lasting: false });
    let pruned = world.admin.prune_events(keyhasp::Timestamp::MAX);
    assert!(matches!(pruned, Err(Error::OutcomeUnknown(_))), "{pruned:?}");
    keys.revoke(first.key.id).unwrap();
    assert_eq!(verify(&world, &first.token), Err(VerifyError::Rejected(RejectReason::Revoked)));
}

/// A clock that panics once after it was told to.
#[derive(Debug)]
struct Fragile(Arc<ManualClock>, AtomicBool);

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        assert!(!self.1.swap(false, Ordering::SeqCst), "planted");
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// The outcome of a commit is unknown if the backend panicked in it, or the clock after it;
/// the store recovers unasked.
#[test]
fn a_store_in_which_something_panicked_recovers_by_itself() {
    for in_the_backend in [true, false] {
        let clock = clock();
        let fragile = Arc::new(Fragile(Arc::clone(&clock), AtomicBool::new(false)));
        let backend = Arc::new(KeepOpen::new(Memory::new()));
        let builder = builder(&clock, 3).clock(Arc::clone(&fragile) as _);
        let store = builder.open_on(Arc::clone(&backend) as _).unwrap();
        let world = World::of(Arc::new(store), clock);
        let limits = SetLimits::new().rate(Rate::new(100, HOUR).unwrap());
        let key = CreateKey::new(Access::Full).limits(limits);
        let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
        backend.plan(Point::BeforeCommit, move || {
            assert!(!in_the_backend, "planted");
            fragile.1.store(true, Ordering::SeqCst);
        });
        let (admin, id) = (world.admin.clone(), issued.key.id);
        assert!(thread::spawn(move || admin.block(id)).join().is_err());
        // Nothing happened where the backend panicked; it is blocked where the clock did.
        let expected =
            if in_the_backend { Ok(()) } else { Err(VerifyError::Rejected(RejectReason::Blocked)) };
        let began = Instant::now();
        loop {
            match verify(&world, &issued.token) {
                Err(VerifyError::Unavailable(_)) => {}
                answer => break assert_eq!(answer, expected),
            }
            assert!(began.elapsed() < PATIENCE, "{:?}", world.store.health());
            thread::yield_now();
        }
        assert_eq!(world.store.health().unavailable, None);
        world.admin.revoke(id).unwrap();
    }
}

/// A lease was asked for before, and its outcome becomes unknown after the backend has recovered:
/// it recovers once more.
#[test]
fn a_doubt_that_comes_during_a_recovery_is_not_forgotten() {
    let clock = clock();
    let backend = Arc::new(KeepOpen::new(Failing::new(Memory::new())));
    let store = builder(&clock, 3).open_on(Arc::clone(&backend) as _).unwrap();
    let world = World::of(Arc::new(store), clock);
    let limits = SetLimits::new().quota(Quota::one_time(100).unwrap());
    let key = CreateKey::new(Access::Full).limits(limits);
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    let (id, token) = (issued.key.id, issued.token);
    let (asks, asked) = mpsc::channel();
    let (goes_on, may_go_on) = mpsc::channel();
    let (answers, answered) = mpsc::channel();
    let lost = |target| Fault { target, nth: 1, moment: Moment::After, lasting: false };
    for target in [Target::Commits, Target::Usage] {
        backend.inner().inject(lost(target));
    }
    backend.plan(Point::BeforeUsage, move || {
        asks.send(()).unwrap();
        may_go_on.recv().unwrap();
    });
    backend.plan(Point::AfterRecovery, move || {
        goes_on.send(()).unwrap();
        answered.recv().unwrap();
    });
    thread::scope(|scope| {
        let verifier = world.verifier.clone();
        scope.spawn(move || {
            let answer = verifier.verify(token.expose()).map(drop);
            assert!(matches!(answer, Err(VerifyError::Unavailable(_))), "{answer:?}");
            answers.send(()).unwrap();
        });
        asked.recv().unwrap();
        assert!(matches!(world.admin.block(id), Err(Error::OutcomeUnknown(_))));
        // It may have begun by itself; either way it is done when this returns.
        while world.store.recover().is_err() {
            thread::yield_now();
        }
    });
    world.admin.unblock(id).unwrap();
    assert_eq!(backend.inner().commits_refused(), 0);
}
