//! Writes of leases that fail: each quota has its own answer, and the others go on.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyhasp::{KeyStore, SetLimits, VerifyRequest};

use crate::common::HOUR;
use crate::limited::gated::{ask_once, daily, gated, of, one_time, retry_after};
use crate::limited::place::{ask, key};

/// All of one write, of which one can't be written: the others get their leases.
#[test]
fn a_failure_is_its_own_quotas_alone() {
    let (world, _, gate) = gated(HOUR);
    let first = key(&world, "first", one_time(64), SetLimits::new());
    let ids: Vec<String> = (0..20).map(|at| format!("org-{at}")).collect();
    let keys: Vec<_> =
        ids.iter().map(|id| key(&world, id, one_time(64), SetLimits::new())).collect();
    gate.set_broken([of(&keys[7]), of(&keys[12])]);
    let shut = gate.shut();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| ask(&world, &first).is_ok());
        gate.await_one();
        // All others gather behind the first write.
        let mut waits: Vec<_> = keys.iter().map(|_| None).collect();
        let mut poll = |at: usize| {
            let request = VerifyRequest::new(keys[at].token.expose().as_bytes());
            let mut context = Context::from_waker(Waker::noop());
            world.store.poll_verify(&request, &mut waits[at], &mut context)
        };
        assert!((0..keys.len()).all(|at| poll(at).is_pending()));
        drop(shut);
        assert!(blocked.join().unwrap());
        for at in 0..keys.len() {
            let answer = loop {
                match poll(at) {
                    Poll::Ready(answer) => break answer,
                    Poll::Pending => std::thread::yield_now(),
                }
            };
            assert_eq!(answer.is_ok(), ![7, 12].contains(&at), "{at}: {answer:?}");
        }
    });
    // Those that failed try again after a pause, and the others never pause.
    assert!(ask(&world, &keys[8]).is_ok());
    assert!(retry_after(&ask(&world, &keys[7])).is_some());
    gate.set_broken([]);
    assert!(ask(&world, &keys[7]).is_ok() && ask(&world, &keys[12]).is_ok());
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
