//! Pruning events: some at a time, and others commit in between.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, START, World, builder, clock, owner};
use keyhasp::authority::{Authority, Role};
use keyhasp::backend::{
    Backend, BackendErrorKind, Change, EventFilter, EventPage, EventQuery, Memory, Write,
};
use keyhasp::event::{Event, EventDraft, EventKind, Fields};
use keyhasp::id::Version;
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{Actor, Error, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// More than are pruned at once, so often that each of three goes makes a difference.
const MANY: usize = 1_300;
/// Number of events that are pruned at once.
const SOME: u64 = 512;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis).unwrap()
}

/// Puts events of these times into the log, past the store.
fn fill(backend: &dyn Backend, times: impl IntoIterator<Item = Timestamp>) {
    let draft = |at| EventDraft {
        at,
        kind: EventKind::TokenRevealed,
        owner: Some(owner("org")),
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: Authority::new(Role::Administrator, Actor::new("root").unwrap()),
    };
    let changes: Vec<Change> =
        times.into_iter().map(|at| Change::of(Write::Nothing, draft(at))).collect();
    assert!(backend.commit(&changes).unwrap().iter().all(Result::is_ok));
}

fn log(backend: &dyn Backend) -> EventPage {
    let (filter, limit) = (EventFilter::default(), usize::MAX);
    backend.events(&EventQuery { after: 0, before: None, filter, limit, examine: limit }).unwrap()
}

fn world<B: Backend>(backend: &Arc<B>, retention: Option<Duration>) -> World {
    let clock = clock();
    let builder = builder(&clock, 5);
    let builder = match retention {
        Some(keep) => builder.event_retention(keep),
        None => builder,
    };
    let store = builder.open_on(Arc::<B>::clone(backend)).unwrap();
    World::of(Arc::new(store), clock)
}

/// There is always more to prune, until the revocation that came meanwhile was answered.
#[test]
fn a_revocation_does_not_wait_for_a_long_pruning() {
    /// So often a thread that can go on is not passed over.
    const ENOUGH: usize = 10_000_000;
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let world = world(&backend, None);
    let (keys, issued) = world.owner("org");
    let is_revoked = Arc::new(AtomicBool::new(false));
    let (began, begins) = mpsc::channel();
    let (is_answered, mut calls) = (Arc::clone(&is_revoked), 0);
    backend.when_pruning(move |limit| {
        calls += 1;
        assert!(calls < ENOUGH, "the revocation never had its turn");
        let _ = began.send(());
        std::thread::yield_now();
        (!is_answered.load(Ordering::SeqCst)).then_some(limit as u64)
    });
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| world.admin.prune_events(Timestamp::MAX));
        begins.recv().unwrap();
        keys.revoke(issued.key.id).unwrap();
        assert!(!pruning.is_finished());
        is_revoked.store(true, Ordering::SeqCst);
        assert!(pruning.join().unwrap().unwrap() >= SOME);
    });
    assert_eq!(log(&*backend).events.len(), 1);
}

/// As one call of the backend would do it, whatever the clock did: it stood, and stepped back.
fn prunes_as_in_one_go<B: Backend>(seed: u64, place: impl Fn() -> B) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut below = |end: u64| rng.next_u64() % end;
    let [stored, plain] = [0, 1].map(|_| Arc::new(KeepOpen::new(place())));
    let [by_store, _] = [&stored, &plain].map(|backend| world(backend, None));
    for round in 0..4 {
        let mut times = Vec::new();
        for _ in 0..below(5) {
            let time = at(below(6));
            times.extend((0..below(900)).map(|_| time));
        }
        for backend in [&stored, &plain] {
            fill(&**backend, times.iter().copied());
        }
        let before = at(below(7));
        let removed = by_store.admin.prune_events(before).unwrap();
        let expected = plain.prune_events(before, usize::MAX).unwrap();
        assert_eq!(removed, expected, "seed {seed}, round {round}");
        let [left, expected] = [&stored, &plain].map(|backend| {
            let EventPage { events, pruned_through, .. } = log(&**backend);
            let told = |event: Event| (event.sequence, event.at);
            (pruned_through, events.into_iter().map(told).collect::<Vec<_>>())
        });
        assert_eq!(left, expected, "seed {seed}, round {round}");
    }
}

#[test]
fn what_remains_is_what_one_call_leaves_in_memory() {
    (0..60).for_each(|seed| prunes_as_in_one_go(seed, Memory::new));
}

#[cfg(feature = "sqlite")]
#[test]
fn what_remains_is_what_one_call_leaves_in_sqlite() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    let directory = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    let place = || {
        let name = format!("{}.db", number.fetch_add(1, Ordering::SeqCst));
        Sqlite::open_or_create(directory.path().join(name), SqliteOptions::exclusive()).unwrap().0
    };
    (0..12).for_each(|seed| prunes_as_in_one_go(seed, place));
}

/// A commit when pruning is due prunes some events, and leaves the rest to the next commits.
#[test]
fn a_commit_that_is_due_does_not_prune_all_of_a_backlog() {
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let world = world(&backend, Some(HOUR));
    fill(&*backend, (0..MANY).map(|_| at(0)));
    let old = log(&*backend).events.len() as u64;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    backend.when_pruning(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    });
    world.clock.advance(HOUR * 2);
    for (turn, through) in [SOME, SOME * 2, old, old].into_iter().enumerate() {
        world.owner(&format!("org-{turn}"));
        assert_eq!(log(&*backend).pruned_through, through);
        // When all is pruned, it isn't due again before a sixtieth of the retention.
        assert_eq!(calls.load(Ordering::SeqCst), (turn + 1).min(3));
    }
    world.clock.advance(HOUR / 60);
    world.owner("last");
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

/// It knows nothing of the clock yet. After an hour, a commit prunes as when pruning is due.
#[test]
fn opening_prunes_nothing_and_leaves_a_backlog_to_commits_after_the_first_hour() {
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let first = world(&backend, None);
    fill(&*backend, (0..MANY).map(|_| at(0)));
    drop(first);
    let clock = clock();
    clock.advance(HOUR * 24);
    let store = builder(&clock, 6).event_retention(HOUR).open_on(backend.clone()).unwrap();
    let world = World::of(Arc::new(store), clock);
    world.owner("org");
    assert_eq!(log(&*backend).pruned_through, 0);
    world.clock.advance(HOUR);
    // Those that were filled in, and that of the creation.
    for (turn, through) in [SOME, SOME * 2, MANY as u64 + 1].into_iter().enumerate() {
        world.owner(&format!("org-{turn}"));
        assert_eq!(log(&*backend).pruned_through, through);
    }
}

fn fails_at_the_second_go(moment: Moment) -> (World, Arc<Failing<Memory>>) {
    let backend = Arc::new(Failing::new(Memory::new()));
    let world = world(&backend, None);
    fill(backend.inner(), (0..MANY).map(|_| at(0)));
    backend.inject(Fault { target: Target::Writes, nth: 2, moment, lasting: false });
    (world, backend)
}

/// "Nothing happened" would not be true; the next call goes on.
#[test]
fn what_was_pruned_before_a_failure_is_told() {
    let (world, backend) = fails_at_the_second_go(Moment::Before(BackendErrorKind::Io));
    let all = log(backend.inner()).events.len() as u64;
    assert_eq!(world.admin.prune_events(Timestamp::MAX).unwrap(), SOME);
    backend.inject(Fault {
        target: Target::Writes,
        nth: 1,
        moment: Moment::Before(BackendErrorKind::Full),
        lasting: false,
    });
    let failed = world.admin.prune_events(Timestamp::MAX);
    assert!(matches!(failed, Err(Error::Backend(_))), "{failed:?}");
    assert_eq!(world.admin.prune_events(Timestamp::MAX).unwrap(), all - SOME - 1);
}

/// Also where some were pruned before; recovery comes first then, as with a commit.
#[test]
fn an_unknown_outcome_is_told_as_that() {
    let (world, backend) = fails_at_the_second_go(Moment::After);
    let all = log(backend.inner()).events.len() as u64;
    let failed = world.admin.prune_events(Timestamp::MAX);
    assert!(matches!(failed, Err(Error::OutcomeUnknown(_))), "{failed:?}");
    assert_eq!(log(backend.inner()).pruned_through, SOME * 2);
    assert_eq!(world.admin.prune_events(Timestamp::MAX).unwrap(), all - SOME * 2 - 1);
    assert_eq!(backend.commits_refused(), 0);
}
