//! Writes of leases that fail: each quota has its own answer, and the others go on.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyhasp::backend::BackendErrorKind;
use keyhasp::{Issued, KeyStore, SetLimits, Store, VerifyRequest};

use crate::common::gate::Gate;
use crate::common::{HOUR, World};
use crate::limited::gated::{Answer, ask_once, daily, gated, of, one_time, retry_after};
use crate::limited::place::{ask, key};

/// Lets verifications gather behind a first write, and returns their answers.
fn ask_together(place: &(World, Arc<Store>, Arc<Gate>), keys: &[Issued]) -> Vec<Answer> {
    let (world, _, gate) = place;
    let first = key(world, "first", one_time(64), SetLimits::new());
    let shut = gate.shut();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| ask(world, &first).is_ok());
        gate.await_one();
        let mut waits: Vec<_> = keys.iter().map(|_| None).collect();
        let mut poll = |at: usize| {
            let request = VerifyRequest::new(keys[at].token.expose().as_bytes());
            let mut context = Context::from_waker(Waker::noop());
            world.store.poll_verify(&request, &mut waits[at], &mut context)
        };
        assert!((0..keys.len()).all(|at| poll(at).is_pending()));
        drop(shut);
        assert!(blocked.join().unwrap());
        let answer = |at: usize| loop {
            match poll(at) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => std::thread::yield_now(),
            }
        };
        (0..keys.len()).map(answer).collect()
    })
}

fn keys(world: &World, number: usize) -> Vec<Issued> {
    let ids = (0..number).map(|at| format!("org-{at:02}"));
    ids.map(|id| key(world, &id, one_time(64), SetLimits::new())).collect()
}

/// Some leases of one write can't be written, as many as one likes: each other quota gets its own.
#[test]
fn a_failure_is_its_own_quotas_alone() {
    for broken in [&[7, 12][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 12]] {
        let place = gated(HOUR);
        let (world, _, gate) = &place;
        let keys = keys(world, 20);
        gate.set_broken(broken.iter().map(|at| of(&keys[*at])));
        let answers = ask_together(&place, &keys);
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_ok(), !broken.contains(&at), "{at}: {answer:?}");
        }
        // Those that failed try again after a pause, and the others never pause.
        assert!(ask(world, &keys[10]).is_ok());
        assert!(retry_after(&ask(world, &keys[7])).is_some());
        gate.set_broken([]);
        assert!(broken.iter().all(|at| ask(world, &keys[*at]).is_ok()));
    }
}

/// The outcome of one half of a write is unknown: what was in no write isn't written before that is
/// known, and hears so.
#[test]
fn nothing_is_written_while_an_outcome_is_unknown() {
    let place = gated(HOUR);
    let (world, store, gate) = &place;
    let keys = keys(world, 8);
    gate.stay_in_doubt(true);
    gate.fail_after_one([BackendErrorKind::Io, BackendErrorKind::OutcomeUnknown]);
    let answers = ask_together(&place, &keys);
    assert!(answers.iter().all(|answer| retry_after(answer).is_some()), "{answers:?}");
    assert_eq!(gate.take_leases().len(), 1, "the first one's");
    gate.stay_in_doubt(false);
    store.recover().unwrap();
    for issued in &keys {
        while ask(world, issued).is_err() {
            std::thread::yield_now();
        }
    }
    // Each was leased once after that.
    let leased = gate.take_leases().concat();
    assert!(keys.iter().all(|issued| leased.iter().filter(|it| **it == of(issued)).count() == 1));
}

/// Another process holds the database: who has time waits, and who hasn't hears when to come again.
#[test]
fn a_busy_backend_is_tried_again() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    gate.be_busy(3);
    assert!(ask(&world, &issued).is_ok());
    // That is no failure that an operator must look at.
    let health = store.health();
    let errors = health.threads.iter().map(|thread| &thread.work.last_error);
    assert!(errors.chain([&health.writes.last_error]).all(Option::is_none), "{health:?}");
    let (world, _, gate) = gated(Duration::ZERO);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    gate.be_busy(u32::MAX);
    for _ in 0..3 {
        assert!(retry_after(&ask_once(&world, &issued).unwrap()).is_some());
    }
    gate.be_busy(0);
    while ask(&world, &issued).is_err() {
        std::thread::yield_now();
    }
}

/// A panic while leases are written answers the verifications that wait for them.
#[test]
fn a_panic_keeps_no_verification_waiting() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    gate.panic_once();
    assert!(retry_after(&ask(&world, &issued)).is_some());
    store.fetch_leases().unwrap();
    assert!(ask(&world, &issued).is_ok());
}

/// A quota whose leases can't be written, while others can: the health goes on to show its error.
#[test]
fn a_quota_that_keeps_failing_shows_in_the_health() {
    let (world, store, gate) = gated(HOUR);
    let keys = keys(&world, 10);
    gate.set_broken([of(&keys[0])]);
    let thread = || {
        let threads = store.health().threads;
        threads.into_iter().find(|thread| thread.name == "keyhasp-leases").unwrap().work
    };
    // Until its pauses are longest.
    for _ in 0..9 {
        assert!(retry_after(&ask(&world, &keys[0])).is_some());
    }
    while thread().last_error.is_none() {
        std::thread::yield_now();
    }
    assert!(keys[1..].iter().all(|issued| ask(&world, issued).is_ok()));
    store.fetch_leases().unwrap();
    assert!(thread().is_failing, "{:?}", thread());
    gate.set_broken([]);
    assert!(ask(&world, &keys[0]).is_ok());
    while thread().is_failing {
        std::thread::yield_now();
    }
}

/// While all leases pause, none is renewed.
#[test]
fn renewals_pause_too() {
    let (world, store, gate) = gated(HOUR);
    let ids: Vec<String> = (0..600).map(|at| format!("org-{at:03}")).collect();
    let keys: Vec<_> = ids.iter().map(|id| key(&world, id, daily(64), SetLimits::new())).collect();
    let midnight = world.after(HOUR * 24);
    world.clock.set(midnight.saturating_sub(Duration::from_millis(1)));
    keys.iter().for_each(|issued| assert!(ask(&world, issued).is_ok()));
    store.fetch_leases().unwrap();
    world.clock.set(midnight);
    gate.take_tries();
    gate.be_busy(1);
    assert!(ask(&world, &keys[0]).is_ok());
    while !keys.iter().all(|issued| ask_once(&world, issued).is_some_and(|it| it.is_ok())) {
        store.fetch_leases().unwrap();
    }
    let tries = gate.take_tries();
    let pauses: Vec<_> =
        tries.windows(2).filter(|two| two[0].1).map(|two| two[1].0 - two[0].0).collect();
    assert!(pauses.len() == 1 && pauses[0] >= Duration::from_millis(10), "{pauses:?}");
}
