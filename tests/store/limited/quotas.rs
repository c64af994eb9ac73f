//! Quotas.

use keyhasp::RejectReason;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, BackendErrorKind, Memory, UsageSubject};
use keyhasp::key::LimitHolder;
use keyhasp::store::{Unavailable, UsageSettings};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, CreateKey, CreateOwner, Expiry, Issued, Period, Quota, Rotate, SetLimits, Store,
    Timestamp, UpdateKey, VerifyError,
};

use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, START, World, builder, clock, owner};
use crate::limited::place::{OWNERS, SECOND, ask, ask_for, key, limit, limit_owner, rate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn one_time(uses: u64) -> SetLimits {
    SetLimits::new().quota(Quota::one_time(uses).unwrap())
}

fn each(uses: u64, every: Period) -> SetLimits {
    SetLimits::new().quota(Quota::each(uses, every).unwrap())
}

/// A rejection for the quota of the key.
fn exhausted(until: Option<Timestamp>) -> Result<(), VerifyError> {
    exhausted_of(LimitHolder::Key, until)
}

fn exhausted_of(holder: LimitHolder, refilled_at: Option<Timestamp>) -> Result<(), VerifyError> {
    Err(VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at }))
}

/// Counts the accepted ones of so many tries; the others are rejected for the quota.
fn accepted(world: &World, issued: &Issued, tries: usize) -> usize {
    let refused = |refusal| {
        assert!(
            matches!(refusal, VerifyError::Rejected(RejectReason::QuotaExhausted { .. })),
            "{refusal:?}"
        );
    };
    (0..tries).filter_map(|_| ask(world, issued).map_err(refused).ok()).count()
}

/// On a backend that is kept.
fn on(backend: &Arc<dyn Backend>) -> World {
    let clock = clock();
    let store = builder(&clock, 1).open_on(Arc::clone(backend)).unwrap();
    World::of(Arc::new(store), clock)
}

fn left(backend: &Arc<dyn Backend>, of: UsageSubject) -> u64 {
    backend.usage(&[of]).unwrap()[0].quota.unwrap().left
}

#[test]
fn spent_to_the_last_use_and_no_further() {
    for (at, id) in OWNERS.into_iter().enumerate() {
        for uses in [0, 1, 15, 16, 17, 1_000] {
            for of_owner in [false, true] {
                let world = World::new();
                world.clock.advance(DAY * at as u32);
                let (holder, own, all) = if of_owner {
                    (LimitHolder::Owner, SetLimits::new(), one_time(uses))
                } else {
                    (LimitHolder::Key, one_time(uses), SetLimits::new())
                };
                let issued = key(&world, id, own, all);
                assert_eq!(accepted(&world, &issued, uses as usize + 50), uses as usize);
                world.clock.advance(DAY * 400);
                let refused = exhausted_of(holder, None);
                assert_eq!(ask(&world, &issued).map(drop), refused);
                assert_eq!(ask_for(&world, &issued, 0).map(drop), refused);
            }
        }
    }
}

#[test]
fn what_a_use_costs() {
    let world = World::new();
    let issued = key(&world, "org", one_time(100), SetLimits::new());
    for (cost, is_accepted) in [(60, true), (41, false), (40, true), (1, false)] {
        assert_eq!(ask_for(&world, &issued, cost).is_ok(), is_accepted, "{cost}");
    }
    let issued = key(&world, "other", one_time(100), SetLimits::new());
    assert_eq!(ask_for(&world, &issued, u32::MAX).map(drop), exhausted(None));
    assert_eq!(accepted(&world, &issued, 150), 100, "what was refused has spent nothing");
}

#[test]
fn refilled_when_a_period_begins() {
    let world = World::new();
    // START is a Thursday, and a first of January.
    let next = |days: u32| Timestamp::from_millis(START).unwrap().saturating_add(DAY * days);
    for (id, every, days) in
        [("d", Period::Day, 1), ("w", Period::Week, 4), ("m", Period::Month, 31)]
    {
        let issued = key(&world, id, each(20, every), SetLimits::new());
        world.clock.set(next(0).saturating_add(HOUR));
        assert_eq!(accepted(&world, &issued, 30), 20);
        world.clock.set(next(days).saturating_sub(SECOND / 1_000));
        assert_eq!(ask(&world, &issued).map(drop), exhausted(Some(next(days))));
        world.clock.set(next(days));
        assert_eq!(accepted(&world, &issued, 30), 20);
        // Back before midnight: it isn't refilled when midnight comes again.
        world.clock.set(next(days).saturating_sub(HOUR));
        assert_eq!(accepted(&world, &issued, 30), 0);
        world.clock.set(next(days).saturating_add(HOUR));
        assert_eq!(accepted(&world, &issued, 30), 0);
    }
}

/// The rate rejects first, and a use that it rejects spends no quota; the other way about, too.
#[test]
fn rate_and_quota() {
    let world = World::new();
    let both = one_time(3).rate(rate(2, SECOND));
    let issued = key(&world, "org", both, SetLimits::new());
    let limited =
        |answer| matches!(answer, Err(VerifyError::Rejected(RejectReason::RateLimited(_))));
    assert!(ask(&world, &issued).is_ok() && ask(&world, &issued).is_ok());
    for _ in 0..10 {
        assert!(limited(ask(&world, &issued)));
    }
    world.clock.advance(SECOND);
    assert_eq!(ask(&world, &issued).unwrap().rate().unwrap().remaining, 1);
    for _ in 0..10 {
        assert_eq!(ask(&world, &issued).map(drop), exhausted(None));
    }
    assert_eq!(ask_for(&world, &issued, 0).map(drop), exhausted(None));
    assert!(limited(ask_for(&world, &issued, 2)), "the rate comes first");
}

/// A use that the owner's quota rejects spends nothing of the key's.
#[test]
fn key_and_owner_together() {
    let world = World::new();
    for id in OWNERS {
        let first = key(&world, id, one_time(10), one_time(12));
        let request = CreateKey::new(Access::Full).limits(one_time(10));
        let second = world.admin.create(&owner(id), request).unwrap();
        assert_eq!(accepted(&world, &first, 7), 7);
        assert_eq!(accepted(&world, &second, 20), 5);
        assert_eq!(accepted(&world, &first, 20), 0);
        limit_owner(&world, id, SetLimits::new().clear_quota());
        assert_eq!((accepted(&world, &first, 20), accepted(&world, &second, 20)), (3, 5));
    }
}

/// Spent uses stay spent, whatever of the key changes, its quota included.
#[test]
fn a_rewrite_keeps_what_was_spent() {
    let world = World::new();
    let issued = key(&world, "org", one_time(100), SetLimits::new());
    assert_eq!(accepted(&world, &issued, 50), 50);
    let expiry = UpdateKey::new().expires(Expiry::At(world.after(HOUR)));
    world.admin.update(issued.key.id, expiry).unwrap();
    let rotated = world.admin.rotate(issued.key.id, Rotate::new()).unwrap();
    assert_eq!(accepted(&world, &issued, 10), 10);
    // Another limit: what is left of the lease moves along.
    limit(&world, &issued, SetLimits::new().rate(rate(1_000_000, HOUR)));
    assert_eq!(accepted(&world, &rotated, 50), 40);
    limit(&world, &issued, one_time(105));
    assert_eq!(accepted(&world, &rotated, 10), 5);
    limit(&world, &issued, SetLimits::new().clear_quota());
    assert_eq!(accepted(&world, &rotated, 10), 10);
}

/// The owner tightens what an administrator has set: never more than either is accepted.
#[test]
fn a_quota_tightened_while_a_lease_is_out() {
    let world = World::new();
    let (keys, issued) = {
        let request = CreateKey::new(Access::Full).limits(one_time(1_600));
        let request = CreateOwner::with_key(request);
        world.owner_with("org", request)
    };
    assert_eq!(accepted(&world, &issued, 10), 10);
    keys.update(issued.key.id, UpdateKey::new().limits(one_time(20))).unwrap();
    assert_eq!(accepted(&world, &issued, 100), 10);
}

#[test]
fn exact_under_threads() {
    let world = World::new();
    let first = key(&world, "org", one_time(5_000), one_time(8_000));
    let request = CreateKey::new(Access::Full).limits(one_time(5_000));
    let second = world.admin.create(&owner("org"), request).unwrap();
    let counts = std::thread::scope(|scope| {
        let each = [&first, &first, &second, &second];
        let each = each.map(|issued| scope.spawn(|| accepted(&world, issued, 4_000)));
        each.map(|thread| thread.join().unwrap())
    });
    assert_eq!(counts.iter().sum::<usize>(), 8_000, "{counts:?}");
    assert!(counts[0] + counts[1] <= 5_000 && counts[2] + counts[3] <= 5_000, "{counts:?}");
}

/// Uses of any cost by many threads, as many as the quota has: none is rejected.
#[test]
fn what_fits_is_never_refused() {
    const COSTS: [(u32, u32); 4] = [(1, 900), (7, 100), (200, 5), (950, 1)];
    let uses = COSTS.map(|(cost, times)| u64::from(cost * times)).iter().sum();
    for round in 0..100 {
        let world = World::new();
        let issued = key(&world, "org", one_time(uses), one_time(uses));
        std::thread::scope(|scope| {
            for (cost, times) in COSTS {
                let (world, issued) = (&world, &issued);
                scope.spawn(move || {
                    for _ in 0..times {
                        let answer = ask_for(world, issued, cost).map(drop);
                        assert_eq!(answer, Ok(()), "{cost} in round {round}");
                    }
                });
            }
        });
        assert_eq!(ask(&world, &issued).map(drop), exhausted(None));
    }
}

/// Uses that no caller can spend stay in the database, where a crash doesn't forfeit them.
#[test]
fn a_use_that_costs_too_much_takes_nothing() {
    for of_owner in [false, true] {
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let world = on(&backend);
        let limits = [one_time(16_000), SetLimits::new()];
        let [own, all] = if of_owner { [1, 0] } else { [0, 1] }.map(|at| limits[at].clone());
        let issued = key(&world, "org", own, all);
        let (holder, of) = if of_owner {
            (LimitHolder::Owner, UsageSubject::Owner(owner("org")))
        } else {
            (LimitHolder::Key, UsageSubject::Key(issued.key.id))
        };
        assert_eq!(ask_for(&world, &issued, 20_000).map(drop), exhausted_of(holder, None));
        assert_eq!(left(&backend, of), 16_000);
        // Nor when others are served beside it: of what is left, a sixteenth lies in their lease.
        std::thread::scope(|scope| {
            let costly = || (0..1_000).map(|_| ask_for(&world, &issued, 20_000).is_ok());
            let costly = [(); 2].map(|()| scope.spawn(move || costly().any(|is_served| is_served)));
            assert_eq!(accepted(&world, &issued, 2_000), 2_000);
            assert!(!costly.into_iter().any(|thread| thread.join().unwrap()));
        });
        assert!(left(&backend, of) >= 13_000, "{}", left(&backend, of));
    }
}

/// The database is asked once whether so much is left; who needs less is served meanwhile.
#[test]
fn a_flood_of_uses_that_cost_too_much() {
    let failing = Arc::new(Failing::new(Memory::new()));
    let backend: Arc<dyn Backend> = Arc::<Failing<Memory>>::clone(&failing);
    let clock = clock();
    let store = Arc::new(builder(&clock, 1).open_on(backend).unwrap());
    let world = World::of(Arc::<Store>::clone(&store), clock);
    for (id, every, until) in [("once", None, None), ("daily", Some(Period::Day), Some(DAY))] {
        let issued = key(
            &world,
            id,
            every.map_or_else(|| one_time(16_000), |every| each(16_000, every)),
            SetLimits::new(),
        );
        let refused = exhausted(until.map(|until| world.after(until)));
        let before = failing.operations();
        let asked = |times, cost, answer: &Result<(), VerifyError>, operations| {
            for _ in 0..times {
                assert_eq!(&ask_for(&world, &issued, cost).map(drop), answer, "{cost}");
            }
            store.fetch_leases().unwrap();
            assert_eq!(failing.operations() - before, operations, "{cost}");
        };
        asked(100, 20_000, &refused, 1);
        asked(100, 16_001, &refused, 1);
        asked(1, 1, &Ok(()), 2);
        // Less than half of the lease is left then, so the next is fetched ahead.
        asked(1, 899, &Ok(()), 3);
        // 943 are left in the lease, and 14,157 beside it.
        asked(100, 15_101, &refused, 3);
        asked(1, 15_099, &Ok(()), 4);
        asked(1, 2, &refused, 4);
        asked(1, 1, &Ok(()), 5);
        asked(100, 1, &refused, 5);
        if until.is_some() {
            world.clock.advance(DAY);
            let refused = exhausted(Some(world.after(DAY)));
            asked(100, 16_001, &refused, 6);
            asked(1, 16_000, &Ok(()), 7);
        }
    }
}

/// Closing refunds what is left of leases; a crash forfeits a sixteenth at most.
#[test]
fn closed_and_opened_again() {
    let backend: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
    let open = &backend;
    let world = on(open);
    let first = key(&world, "org", one_time(1_600), each(3_200, Period::Month));
    assert_eq!(accepted(&world, &first, 10), 10);
    let of = [UsageSubject::Key(first.key.id), UsageSubject::Owner(owner("org"))];
    assert_eq!(of.map(|of| left(&backend, of)), [1_500, 3_000]);
    // Another store begins where a crash of this one would leave the database.
    let crashed = on(open);
    assert_eq!(accepted(&crashed, &first, 1), 1);
    crashed.store.close().unwrap();
    assert_eq!(of.map(|of| left(&backend, of)), [1_499, 2_999]);
    world.store.close().unwrap();
    assert_eq!(of.map(|of| left(&backend, of)), [1_589, 3_189]);
    assert_eq!(ask(&world, &first).unwrap_err(), VerifyError::Unavailable(Unavailable::Closed));
    let again = on(open);
    assert_eq!(accepted(&again, &first, 2_000), 1_589);
}

/// No use is accepted beyond the quota, whatever a backend's failure leaves indeterminate.
#[test]
fn a_backend_that_fails() {
    for moment in [
        Moment::Before(BackendErrorKind::Io),
        Moment::Before(BackendErrorKind::OutcomeUnknown),
        Moment::After,
    ] {
        let failing = Arc::new(Failing::new(Memory::new()));
        let backend: Arc<dyn Backend> = Arc::<Failing<Memory>>::clone(&failing);
        let world = on(&backend);
        let issued = key(&world, "org", one_time(64), SetLimits::new());
        failing.inject(Fault { target: Target::Writes, nth: 1, moment, lasting: true });
        let unavailable = |answer| {
            matches!(
                answer,
                Err(VerifyError::Unavailable(Unavailable::Quota { .. } | Unavailable::Recovering))
            )
        };
        for _ in 0..3 {
            assert!(unavailable(ask(&world, &issued)), "{moment:?}");
        }
        failing.heal();
        world.store.recover().unwrap();
        let count = accepted(&world, &issued, 100);
        // Each lease of a sixteenth whose outcome was unknown may be forfeited.
        assert!((54..=64).contains(&count), "{count} {moment:?}");
    }
}

/// Closing refunds leases and writes uses; not the one after the other while it is unknown
/// what became of the first. The call of `close` reports either.
#[test]
fn a_close_of_which_nobody_knows_half() {
    for (nth, is_closed) in [(1, false), (2, false), (3, true)] {
        let failing = Arc::new(Failing::new(Memory::new()));
        let backend: Arc<dyn Backend> = Arc::<Failing<Memory>>::clone(&failing);
        let builder = builder(&clock(), 1).usage(UsageSettings::new().counts().interval(HOUR));
        let world = World::of(Arc::new(builder.open_on(backend).unwrap()), clock());
        let issued = key(&world, "org", one_time(64), SetLimits::new());
        assert_eq!(accepted(&world, &issued, 1), 1);
        failing.inject(Fault { target: Target::Usage, nth, moment: Moment::After, lasting: false });
        assert_eq!(world.store.close().is_ok(), is_closed, "write {nth}");
        assert_eq!(failing.commits_refused(), 0, "write {nth}");
    }
}
