//! Leases are fetched beside requests: no request calls the backend, and none waits longer than the
//! bound.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use keyhasp::backend::{Backend, UsageSubject};
use keyhasp::store::Unavailable;
use keyhasp::{
    Access, CreateKey, Issued, KeyStore, SetLimits, Store, UpdateKey, VerifyError, VerifyRequest,
};
use proptest::prelude::*;

use crate::common::gate::{as_request, on_each_gate};
use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, World, builder, clock, owner};
use crate::limited::gated::{
    ask_once, daily, gated, gated_by, is_exhausted, of, one_time, retry_after,
};
use crate::limited::place::{ask, ask_for, key};

/// Not one of hundreds of uses, large and small, granted and rejected, parked and polled, on each
/// backend.
#[test]
fn no_request_calls_the_backend() {
    on_each_gate(|gate| {
        let (world, store, gate) = gated_by(gate, HOUR);
        let keys = [
            ("a", one_time(0), SetLimits::new()),
            ("b", one_time(20), SetLimits::new()),
            ("c", daily(5_000), one_time(900)),
            ("d", SetLimits::new(), daily(300)),
        ];
        let keys = keys.map(|(id, own, all)| key(&world, id, own, all));
        let (mut granted, mut exhausted) = (0, 0);
        for day in 0..2_u32 {
            for round in 0..200 {
                for issued in &keys {
                    let cost = [0, 1, 1, 7][round % 4];
                    let answer = as_request(|| ask_for(&world, issued, cost));
                    granted += u32::from(answer.is_ok());
                    exhausted += u32::from(is_exhausted(&answer));
                }
            }
            store.fetch_leases().unwrap();
            world.clock.advance(Duration::from_secs(24 * 60 * 60) * (day + 1));
            store.refresh().unwrap();
        }
        assert!(granted > 400 && exhausted > 400 && granted + exhausted == 1_600);
        assert_eq!(gate.calls_by_requests(), 0);
        assert!(!gate.take_leases().is_empty());
        // It would tell.
        assert!(as_request(|| world.admin.get(keys[0].key.id)).is_ok());
        assert!(gate.calls_by_requests() > 0);
    });
}

/// Uses with time between them for the thread that fetches: while 32 or more are left, none but the
/// first waits.
#[test]
fn paced_uses_never_wait() {
    let (world, store, _) = gated(HOUR);
    for (id, uses) in [("a", 32), ("b", 33), ("c", 100), ("d", 1_000), ("e", 10_000)] {
        let issued = key(&world, id, daily(uses), one_time(uses));
        assert!(ask(&world, &issued).is_ok());
        for left in (32..uses).rev() {
            store.fetch_leases().unwrap();
            let answer = ask_once(&world, &issued);
            assert!(answer.is_some_and(|answer| answer.is_ok()), "{left} of {uses} are left");
        }
        let rest = (0..uses).take_while(|_| ask(&world, &issued).is_ok()).count();
        assert_eq!(rest, 31, "of {uses}");
    }
}

/// Parked threads and futures alike: while a write hangs, each is answered when its time is over.
#[test]
fn a_stuck_backend_keeps_nobody_waiting() {
    let (world, store, gate) = gated(Duration::from_millis(20));
    let keys = ["a", "b", "c"].map(|id| key(&world, id, one_time(64), SetLimits::new()));
    let shut = gate.shut();
    std::thread::scope(|scope| {
        for issued in &keys {
            for _ in 0..4 {
                scope.spawn(|| {
                    let answer = as_request(|| ask(&world, issued));
                    assert!(retry_after(&answer).is_some_and(|after| !after.is_zero()));
                });
                let verifier = world.verifier.clone();
                scope.spawn(move || {
                    let request = VerifyRequest::new(issued.token.expose().as_bytes());
                    let answer = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let answer = as_request(|| answer.block_on(verifier.verify_async(&request)));
                    assert!(retry_after(&answer).is_some(), "{answer:?}");
                });
            }
        }
    });
    gate.await_one();
    drop(shut);
    // What they asked for serves those that come later.
    store.fetch_leases().unwrap();
    for issued in &keys {
        assert!(ask_once(&world, issued).unwrap().is_ok());
    }
    assert_eq!(gate.calls_by_requests(), 0);
}

/// Without a bound to wait for, the lease is there for the next one, also of a few uses.
#[test]
fn who_never_waits_is_served_later() {
    let (world, store, _) = gated(Duration::ZERO);
    for (id, uses) in [("a", 1), ("b", 20), ("c", 1_000)] {
        let issued = key(&world, id, one_time(uses), SetLimits::new());
        assert!(retry_after(&ask(&world, &issued)).is_some());
        store.fetch_leases().unwrap();
        assert!(ask(&world, &issued).is_ok(), "{uses}");
    }
}

#[test]
fn nobody_waits_longer_than_an_hour() {
    let open = |wait| {
        let builder = builder(&clock(), 1).quota_wait(wait);
        builder.open(keyhasp::backend::Memory::new()).map(drop)
    };
    assert!(open(HOUR).is_ok());
    let refused = open(HOUR + Duration::from_millis(1)).unwrap_err();
    assert_eq!(refused.to_string(), "quota wait: 3600001 ms is outside 0 to 3600000 ms");
}

/// A future that is dropped while it waits has taken nothing, and asked for nothing.
#[test]
fn a_dropped_future_has_taken_nothing() {
    let (world, store, gate) = gated(HOUR);
    let first = key(&world, "first", one_time(64), SetLimits::new());
    let issued = key(&world, "org", one_time(64), one_time(64));
    let gone = key(&world, "gone", one_time(64), SetLimits::new());
    let shut = gate.shut();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| ask(&world, &first).is_ok());
        gate.await_one();
        let request = VerifyRequest::new(issued.token.expose().as_bytes());
        let mut context = Context::from_waker(Waker::noop());
        let mut future = pin!(world.verifier.verify_async(&request));
        for _ in 0..3 {
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
        // Others for the same quota, and one for another, are dropped.
        for issued in [&issued, &issued, &gone] {
            assert!(ask_once(&world, issued).is_none());
        }
        drop(shut);
        assert!(blocked.join().unwrap());
        store.fetch_leases().unwrap();
        assert_eq!(gate.take_leases().concat(), [of(&first), of(&issued)]);
        while future.as_mut().poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
    });
    let both = [of(&issued), UsageSubject::Owner(owner("org"))];
    store.close().unwrap();
    let left = gate.usage(&both).unwrap().into_iter().map(|usage| usage.quota.unwrap().left);
    assert_eq!(left.collect::<Vec<_>>(), [63, 63]);
}

/// A quota is replaced while its next lease is written: the rest of the lease before goes back to its
/// own count.
#[test]
fn a_quota_that_is_replaced_while_it_is_leased_loses_nothing() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    assert!(ask(&world, &issued).is_ok());
    store.fetch_leases().unwrap();
    let shut = gate.shut();
    // Of the four in the lease one is left: the next lease is asked for.
    assert!(ask(&world, &issued).is_ok() && ask(&world, &issued).is_ok());
    gate.await_one();
    let update = UpdateKey::new().limits(one_time(100));
    world.admin.update(issued.key.id, update).unwrap();
    drop(shut);
    store.fetch_leases().unwrap();
    store.close().unwrap();
    assert_eq!(gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left, 97);
}

/// Closing answers those who wait, though a write hangs.
#[test]
fn closing_answers_those_who_wait() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    let shut = gate.shut();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&world, &issued));
        gate.await_one();
        let closing = scope.spawn(|| store.close());
        let closed = Err(VerifyError::Unavailable(Unavailable::Closed));
        assert_eq!(waiting.join().unwrap(), closed);
        assert_eq!(ask(&world, &issued), closed);
        drop(shut);
        closing.join().unwrap().unwrap();
    });
}

/// When a period begins, the quotas that were in use until then are leased again together, once the
/// first of them is asked for. The others wait for their first use.
#[test]
fn leases_are_renewed_when_a_period_begins() {
    let (world, store, gate) = gated(HOUR);
    let ids: Vec<String> = (0..600).map(|at| format!("org-{at:03}")).collect();
    let keys: Vec<_> = ids.iter().map(|id| key(&world, id, daily(64), SetLimits::new())).collect();
    let midnight = world.after(HOUR * 24);
    let use_all = |keys: &[Issued]| {
        keys.iter().for_each(|issued| assert!(ask(&world, issued).is_ok()));
        store.fetch_leases().unwrap();
    };
    world.clock.set(midnight.saturating_sub(HOUR + Duration::from_millis(1)));
    use_all(&keys[..100]);
    world.clock.set(midnight.saturating_sub(HOUR));
    use_all(&keys[100..]);
    world.clock.set(midnight.saturating_add(HOUR - Duration::from_millis(1)));
    gate.take_leases();
    assert!(ask_once(&world, &keys[300]).is_none(), "the first one waits");
    assert!(ask(&world, &keys[300]).is_ok());
    store.fetch_leases().unwrap();
    let mut leased = BTreeMap::new();
    for of in gate.take_leases().into_iter().flatten() {
        *leased.entry(of).or_insert(0) += 1;
    }
    assert!(leased.len() == 500 && leased.values().all(|times| *times == 1));
    for (at, issued) in keys.iter().enumerate() {
        assert_eq!(ask_once(&world, issued).is_some(), at >= 100, "{at}");
    }
    // What was used early in the day alone is not.
    store.fetch_leases().unwrap();
    world.clock.advance(HOUR * 24);
    gate.take_leases();
    assert!(ask(&world, &keys[0]).is_ok());
    store.fetch_leases().unwrap();
    assert_eq!(gate.take_leases().concat(), [of(&keys[0])]);
}

/// The greatest reservation. What is settled for less lies in the lease again.
const MOST: u32 = 8;

/// A step of a process: a use by the first or second key, for this cost; a reservation that is settled
/// for more or less; a crash or a closing, after which the database is opened again.
#[derive(Clone, Copy, Debug)]
enum Act {
    Use(usize, u32),
    Settle(u32, u32),
    Crash,
    Close,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..2_usize, 1..4_u32).prop_map(|(key, cost)| Act::Use(key, cost)),
        1 => (0..2_usize, 4..90_u32).prop_map(|(key, cost)| Act::Use(key, cost)),
        2 => (1..=MOST, 0..12_u32).prop_map(|(cost, actual)| Act::Settle(cost, actual)),
        1 => Just(Act::Crash),
        1 => Just(Act::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is used, settled and crashes: nothing is overspent, a process that is quiet holds at
    /// most a sixteenth of what is left, and that is all that a crash forfeits. A use that fits is
    /// accepted.
    #[test]
    fn a_crash_forfeits_a_sixteenth_at_most(
        uses in prop_oneof![0..70_u64, 70..3_000_u64],
        acts in prop::collection::vec(acts(), 1..120),
    ) {
        let backend: Arc<dyn Backend> = Arc::new(KeepOpen::new(keyhasp::backend::Memory::new()));
        let open = || {
            let clock = clock();
            let store = Arc::new(builder(&clock, 1).open_on(Arc::clone(&backend)).unwrap());
            (World::of(Arc::<Store>::clone(&store), clock), store)
        };
        let (mut world, mut store) = open();
        let mut crashed = Vec::new();
        let first = key(&world, "org", SetLimits::new(), one_time(uses));
        let second = world.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
        let keys = [first, second];
        let stored = || {
            let usage = backend.usage(&[UsageSubject::Owner(owner("org"))]).unwrap();
            usage[0].quota.map_or(i128::from(uses), |quota| {
                i128::from(quota.left) - i128::from(quota.debt)
            })
        };
        // What is truly left: neither used nor forfeited.
        let mut left = i128::from(uses);
        for act in acts {
            match act {
                Act::Use(at, cost) => {
                    let answer = ask_for(&world, &keys[at], cost);
                    prop_assert_eq!(answer.is_ok(), left >= cost.into(), "{:?}", answer);
                    prop_assert!(answer.is_ok() || is_exhausted(&answer));
                    left -= i128::from(cost) * i128::from(answer.is_ok());
                }
                Act::Settle(cost, actual) => {
                    let request = VerifyRequest::new(keys[0].token.expose().as_bytes()).cost(cost);
                    if let Ok((_, reserved)) = world.verifier.verify_reserving(&request) {
                        reserved.settle(actual).unwrap();
                        left -= i128::from(actual);
                    }
                }
                Act::Crash => {
                    store.fetch_leases().unwrap();
                    left = stored();
                    // Until all is over, it gives nothing back.
                    crashed.push(store);
                    (world, store) = open();
                }
                Act::Close => {
                    store.close().unwrap();
                    prop_assert_eq!(stored(), left);
                    (world, store) = open();
                }
            }
            store.fetch_leases().unwrap();
            let held = left - stored();
            prop_assert!(held >= 0, "overspent by {}", -held);
            prop_assert!(held <= (left / 16).max(MOST.into()), "{held} are held of {left}");
        }
    }
}
