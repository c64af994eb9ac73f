//! The health of a store: what it says of threads, writes and events, and who hears of changes.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{HOUR, START, World, builder, clock};
use keyhasp::backend::{BackendErrorKind, Memory};
use keyhasp::store::{
    Health, HealthErrorKind, HealthProblem, ThreadHealth, Unavailable, UsageSettings,
};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{Access, AlertSettings, Clock, CreateKey, Error, KeyStore, ManualClock, Timestamp};

/// After so long what should happen by itself never does. Only a defect waits for the end of this.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until the store's health satisfies a condition.
fn until(store: &dyn KeyStore, is_met: impl Fn(&Health) -> bool) -> Health {
    let began = Instant::now();
    loop {
        let health = store.health();
        if is_met(&health) {
            return health;
        }
        assert!(began.elapsed() < PATIENCE, "{health:?}");
        thread::yield_now();
    }
}

fn thread_of<'a>(health: &'a Health, name: &str) -> &'a ThreadHealth {
    health.threads.iter().find(|thread| thread.name == name).unwrap()
}

fn full(target: Target) -> Fault {
    let moment = Moment::Before(BackendErrorKind::Full);
    Fault { target, nth: 1, moment, lasting: true }
}

#[test]
fn a_new_store_is_well_and_knows_its_last_event_and_write() {
    let world = World::new();
    let health = world.store.health();
    assert!(health.is_ready() && health.problems().is_empty());
    let before = health.last_event.map_or(0, |last| last.number);
    assert_eq!(thread_of(&health, "keyhasp-recover").work.last_success, None);
    world.clock.advance(HOUR);
    world.owner("org");
    let health = world.store.health();
    let last = health.last_event.unwrap();
    let at = Timestamp::from_millis(START + 3_600_000).unwrap();
    assert_eq!((last.number, last.at), (before + 2, at));
    assert_eq!(health.writes.last_success, Some(at));
    let shown = serde_json::to_value(&health).unwrap();
    assert_eq!(shown["last_event"]["number"], last.number);
    assert_eq!(shown["threads"][0]["name"], "keyhasp-recover");
    assert_eq!(shown["threads"][0]["is_failing"], false);
    assert_eq!(shown["storage"]["free_bytes"], serde_json::Value::Null);
}

#[test]
fn a_store_that_cannot_write_says_so_until_it_can() {
    let clock = clock();
    let backend = Arc::new(Failing::new(Memory::new()));
    let store = builder(&clock, 3).open_on(Arc::clone(&backend) as _).unwrap();
    let world = World::of(Arc::new(store), clock);
    let (keys, issued) = world.owner("org");
    backend.inject(full(Target::Writes));
    world.clock.advance(HOUR);
    let refused = keys.create(CreateKey::new(Access::Full));
    assert!(
        matches!(refused, Err(Error::Backend(error)) if error.kind() == BackendErrorKind::Full)
    );
    let health = world.store.health();
    // It goes on verifying.
    assert!(health.is_ready() && world.verifier.verify(issued.token.expose()).is_ok());
    assert_eq!(health.problems(), [HealthProblem::Writes(BackendErrorKind::Full)]);
    let error = health.writes.last_error.unwrap();
    assert_eq!(error.kind, HealthErrorKind::Backend(BackendErrorKind::Full));
    assert_eq!(error.at, world.now());
    assert!(error.text.contains("no space left"), "{}", error.text);
    assert!(health.writes.last_success < Some(world.now()));
    backend.heal();
    keys.create(CreateKey::new(Access::Full)).unwrap();
    let health = world.store.health();
    assert!(health.problems().is_empty() && health.writes.last_error.is_some());
    assert_eq!(health.writes.last_success, Some(world.now()));
}

/// A refused change writes nothing, and neither does usage that there isn't.
#[test]
fn only_what_was_written_counts_as_a_write() {
    let world = World::with(|builder| builder.usage(UsageSettings::new()), Memory::new());
    let (keys, issued) = world.owner("org");
    let first = world.now();
    world.clock.advance(HOUR);
    assert!(keys.get(issued.key.id).is_ok());
    assert!(world.admin.prune_events(Timestamp::MIN).is_ok());
    assert_eq!(world.store.health().writes.last_success, Some(first));
}

#[test]
fn a_thread_whose_work_fails_shows_its_error_until_it_has_worked_again() {
    let clock = clock();
    let backend = Arc::new(Failing::new(Memory::new()));
    let store = builder(&clock, 3).open_on(Arc::clone(&backend) as _).unwrap();
    let world = World::of(Arc::new(store), clock);
    let (keys, issued) = world.owner("org");
    let unwell = Moment::Before(BackendErrorKind::Io);
    backend.inject(Fault { target: Target::Recoveries, nth: 1, moment: unwell, lasting: true });
    let lost = Fault { target: Target::Commits, nth: 1, moment: Moment::After, lasting: false };
    backend.inject(lost);
    assert!(keys.revoke(issued.key.id).is_err());
    let is_failing = |health: &Health| thread_of(health, "keyhasp-recover").work.is_failing;
    let health = until(&*world.store, is_failing);
    let error = thread_of(&health, "keyhasp-recover").work.last_error.clone().unwrap();
    assert_eq!(error.kind, HealthErrorKind::Backend(BackendErrorKind::Io));
    let problems = health.problems();
    assert_eq!(problems[0], HealthProblem::Unavailable(Unavailable::Recovering));
    assert!(problems.contains(&HealthProblem::Thread("keyhasp-recover")), "{problems:?}");
    backend.heal();
    let health = until(&*world.store, |health| !is_failing(health));
    let work = &thread_of(&health, "keyhasp-recover").work;
    assert_eq!((work.last_success, &work.last_error), (Some(world.now()), &Some(error)));
}

/// A clock that panics on the thread of this name while it is told to.
#[derive(Debug)]
struct PanicsOn(&'static str, ManualClock, AtomicBool);

impl Clock for PanicsOn {
    fn now(&self) -> Timestamp {
        let is_there = thread::current().name() == Some(self.0);
        assert!(!(is_there && self.2.load(Ordering::SeqCst)), "planted");
        self.1.now()
    }

    fn monotonic(&self) -> Duration {
        self.1.monotonic()
    }
}

#[test]
fn a_thread_in_which_the_clock_panics_is_unwell_and_goes_on() {
    for name in ["keyhasp-watch", "keyhasp-usage", "keyhasp-alerts", "keyhasp-health"] {
        let clock = ManualClock::new(Timestamp::from_millis(START).unwrap());
        let clock = Arc::new(PanicsOn(name, clock, AtomicBool::new(true)));
        let usage = UsageSettings::new().interval(Duration::from_secs(1));
        let store = builder(&crate::common::clock(), 3)
            .clock(Arc::clone(&clock) as _)
            .alerts(AlertSettings::new().expiries())
            .usage(usage)
            .on_health_change(|_| ())
            .open(Memory::new())
            .unwrap();
        let is_failing = |health: &Health| thread_of(health, name).work.is_failing;
        let health = until(&store, is_failing);
        assert_eq!(health.problems(), [HealthProblem::Thread(name)]);
        let error = thread_of(&health, name).work.last_error.clone().unwrap();
        assert_eq!(error.kind, HealthErrorKind::Panic);
        assert!(!error.text.contains("planted"), "{}", error.text);
        clock.2.store(false, Ordering::SeqCst);
        let health = until(&store, |health| !is_failing(health));
        assert!(health.problems().is_empty(), "{name}");
        assert!(thread_of(&health, name).work.last_error.is_some());
    }
}

#[test]
fn a_hook_hears_each_change_of_problems_and_may_call_the_store() {
    let clock = clock();
    let backend = Arc::new(Failing::new(Memory::new()));
    let (says, said) = mpsc::channel();
    let (gives, given) = mpsc::channel::<std::sync::Weak<keyhasp::Store>>();
    let own = std::sync::OnceLock::new();
    let hook = move |health: &Health| {
        let store = own.get_or_init(|| given.recv().unwrap()).upgrade();
        let again = store.map(|store| (store.recover().is_ok(), store.health().problems()));
        let _ = says.send((health.problems(), again.unwrap().1));
    };
    let builder = builder(&clock, 3).on_health_change(hook);
    let store = Arc::new(builder.open_on(Arc::clone(&backend) as _).unwrap());
    gives.send(Arc::downgrade(&store)).unwrap();
    let world = World::of(Arc::clone(&store) as _, clock);
    let (keys, _) = world.owner("org");
    let hear = || said.recv_timeout(PATIENCE).unwrap();
    backend.inject(full(Target::Commits));
    assert!(keys.create(CreateKey::new(Access::Full)).is_err());
    let is_full = vec![HealthProblem::Writes(BackendErrorKind::Full)];
    assert_eq!(hear(), (is_full.clone(), is_full));
    // A number that moves is no change.
    world.clock.advance(HOUR);
    backend.heal();
    keys.create(CreateKey::new(Access::Full)).unwrap();
    assert_eq!(hear(), (vec![], vec![]));
    drop((world, keys, store));
    // The thread ends with its store, and the function with the thread.
    assert_eq!(said.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_hook_that_panics_is_called_again_with_the_next_change() {
    let clock = clock();
    let (says, said) = mpsc::channel();
    let hook = move |health: &Health| {
        says.send(health.problems()).unwrap();
        assert_ne!(health.problems(), [HealthProblem::ClockAhead], "planted");
    };
    let store = builder(&clock, 3).on_health_change(hook).open(Memory::new()).unwrap();
    clock.set(clock.now().saturating_add(HOUR));
    let hear = || said.recv_timeout(PATIENCE).unwrap();
    assert_eq!(hear(), [HealthProblem::ClockAhead]);
    assert_eq!(hear(), [HealthProblem::ClockAhead, HealthProblem::Thread("keyhasp-health")]);
    until(&store, |health| !thread_of(health, "keyhasp-health").work.is_failing);
}

/// A command may close the store before the thread has looked at it once.
#[test]
fn a_hook_hears_nothing_of_the_closing_of_its_store() {
    let (says, said) = mpsc::channel();
    for seed in 0..500 {
        let says = says.clone();
        let hook = move |health: &Health| says.send(health.problems()).unwrap();
        let store = builder(&clock(), seed).on_health_change(hook).open(Memory::new()).unwrap();
        store.close().unwrap();
    }
    drop(says);
    // Ends when the last thread has.
    assert_eq!(said.recv(), Err(mpsc::RecvError));
}
