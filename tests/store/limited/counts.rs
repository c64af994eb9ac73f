//! What the setter of a quota sees: looks, counts that stay, refills, additions, and periods.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, BackendErrorKind, Memory, UsageSubject};
use keyhasp::key::LimitHolder;
use keyhasp::store::{Reservation, StateProblem, Unavailable};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, EventKind, ForbiddenReason, Issued, ListEvents, Period,
    Quota, Refill, RejectReason, SetLimits, Timestamp, UpdateKey, VerifiedKey, VerifyError,
    VerifyRequest,
};

use crate::common::keep_open::KeepOpen;
use crate::common::{START, World, builder, clock, owner};
use crate::limited::place::{OWNERS, ask_for, key, limit, limit_owner};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn quota(quota: Quota) -> SetLimits {
    SetLimits::new().quota(quota)
}

fn once(uses: u64) -> Quota {
    Quota::one_time(uses).unwrap()
}

fn monthly(uses: u64) -> Quota {
    Quota::each(uses, Period::Month).unwrap()
}

fn topped_up(uses: u64, amount: u64) -> Quota {
    once(uses).with_refill(Refill::new(amount, Period::Day).unwrap())
}

fn is_exhausted(answer: &Result<VerifiedKey, VerifyError>) -> bool {
    matches!(answer, Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })))
}

fn is_unavailable(answer: Result<VerifiedKey, VerifyError>) -> bool {
    matches!(answer, Err(VerifyError::Unavailable(Unavailable::Quota { .. })))
}

/// Counts the uses of cost 1 that are left, and uses them up.
fn left(world: &World, issued: &Issued) -> usize {
    (0..1_000).take_while(|_| !is_exhausted(&ask_for(world, issued, 1))).count()
}

/// A key and the holder of its quota: itself, or its owner.
#[derive(Clone, Copy, Debug)]
enum Of {
    Key,
    Owner,
}

fn limited(world: &World, id: &str, of: Of, limits: SetLimits) -> Issued {
    match of {
        Of::Key => key(world, id, limits, SetLimits::new()),
        Of::Owner => key(world, id, SetLimits::new(), limits),
    }
}

fn set(world: &World, id: &str, of: Of, issued: &Issued, limits: SetLimits) {
    match of {
        Of::Key => limit(world, issued, limits),
        Of::Owner => limit_owner(world, id, limits),
    }
}

fn on_both(check: impl Fn(&World, &str, Of)) {
    for id in OWNERS {
        for of in [Of::Key, Of::Owner] {
            check(&World::new(), id, of);
        }
    }
}

#[test]
fn a_use_that_costs_nothing_looks() {
    on_both(|world, id, of| {
        let issued = limited(world, id, of, quota(once(2)));
        for rest in [2, 1] {
            for _ in 0..5 {
                assert!(ask_for(world, &issued, 0).is_ok(), "{rest} are left of {of:?}");
            }
            assert!(ask_for(world, &issued, 1).is_ok());
        }
        assert!(is_exhausted(&ask_for(world, &issued, 0)), "none is left of {of:?}");
        set(world, id, of, &issued, quota(once(3)));
        assert!(ask_for(world, &issued, 0).is_ok());
        assert_eq!(left(world, &issued), 1);
        assert!(is_exhausted(&ask_for(world, &issued, 0)));
    });
}

/// More is left than the index can note, and nothing is leased.
#[test]
fn a_look_at_the_largest_quota() {
    let backend: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
    let clock = clock();
    let opened = || Arc::new(builder(&clock, 1).open_on(Arc::clone(&backend)).unwrap());
    let world = World::of(opened(), Arc::clone(&clock));
    let issued = key(&world, "org", quota(once(Quota::MAX_USES)), SetLimits::new());
    assert!(ask_for(&world, &issued, 1).is_ok());
    world.store.close().unwrap();
    drop(world);
    let world = World::of(opened(), Arc::clone(&clock));
    assert!(ask_for(&world, &issued, 0).is_ok());
}

/// A look begins no count and takes no lease. Once a count has begun, a look that read what is left
/// knows it.
#[test]
fn a_look_writes_nothing() {
    let failing = Arc::new(Failing::new(Memory::new()));
    let backend: Arc<dyn Backend> = Arc::<Failing<Memory>>::clone(&failing);
    let clock = clock();
    let world =
        World::of(Arc::new(builder(&clock, 1).open_on(Arc::clone(&backend)).unwrap()), clock);
    let issued = key(&world, "org", quota(once(20)), quota(monthly(30)));
    let inject = |target| {
        let moment = Moment::Before(BackendErrorKind::Io);
        failing.inject(Fault { target, nth: 1, moment, lasting: true });
    };
    inject(Target::Writes);
    assert!(ask_for(&world, &issued, 0).is_ok());
    let of = [UsageSubject::Key(issued.key.id), UsageSubject::Owner(owner("org"))];
    assert!(backend.usage(&of).unwrap().iter().all(|usage| !usage.quota.unwrap().has_begun()));
    assert!(is_unavailable(ask_for(&world, &issued, 1)));
    failing.heal();
    // What a use or a look has read, a look knows.
    assert!(ask_for(&world, &issued, 1).is_ok());
    limit(&world, &issued, quota(once(21)));
    assert!(ask_for(&world, &issued, 0).is_ok());
    inject(Target::Any);
    for _ in 0..3 {
        assert!(ask_for(&world, &issued, 0).is_ok());
    }
    failing.heal();
    // What a use learned, a look knows.
    assert!(ask_for(&world, &issued, 20).is_ok());
    inject(Target::Any);
    assert!(is_exhausted(&ask_for(&world, &issued, 0)));
    failing.heal();
    // In the next month the owner's must be read again; the key's has no month.
    set(&world, "org", Of::Key, &issued, SetLimits::new().clear_quota());
    world.clock.advance(DAY * 31);
    inject(Target::Any);
    assert!(is_unavailable(ask_for(&world, &issued, 0)));
    failing.heal();
    assert!(ask_for(&world, &issued, 0).is_ok());
    assert_eq!(left(&world, &issued), 30);
}

/// 100 a month, of which 90 are used.
#[test]
fn a_quota_that_is_set_again_keeps_its_count() {
    on_both(|world, id, of| {
        for (at, (next, expected)) in
            [(monthly(50), 0), (monthly(100), 10), (monthly(200), 110), (once(95), 5)]
                .into_iter()
                .enumerate()
        {
            let id = &format!("{id}-{at}");
            let issued = limited(world, id, of, quota(monthly(100)));
            assert!((0..90).all(|_| ask_for(world, &issued, 1).is_ok()));
            set(world, id, of, &issued, quota(next));
            assert_eq!(ask_for(world, &issued, 0).is_ok(), expected > 0, "{next:?} {of:?}");
            assert_eq!(left(world, &issued), expected, "{next:?} {of:?}");
            // Other values in between change nothing.
            for uses in [3, 400, 1, 100] {
                set(world, id, of, &issued, quota(monthly(uses)));
            }
            assert_eq!(left(world, &issued), 10_usize.saturating_sub(expected), "{next:?} {of:?}");
        }
    });
}

#[test]
fn refills_and_additions_are_calls_of_their_own() {
    on_both(|world, id, of| {
        let issued = limited(world, id, of, quota(once(20)));
        let (key, id) = (issued.key.id, owner(id));
        assert_eq!(left(world, &issued), 20);
        let last = || world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items.pop();
        let (refilled, added) = match of {
            Of::Key => (EventKind::KeyQuotaRefilled, EventKind::KeyQuotaAdded),
            Of::Owner => (EventKind::OwnerQuotaRefilled, EventKind::OwnerQuotaAdded),
        };
        let refill = || match of {
            Of::Key => world.admin.refill_quota(key).map(|key| key.version),
            Of::Owner => world.admin.refill_owner_quota(&id).map(|owner| owner.version),
        };
        let add = |uses| match of {
            Of::Key => world.admin.add_to_quota(key, uses).map(|key| key.version),
            Of::Owner => world.admin.add_to_owner_quota(&id, uses).map(|owner| owner.version),
        };
        let version = refill().unwrap();
        let event = last().unwrap();
        assert_eq!((event.kind, event.version), (refilled, version));
        assert!(ask_for(world, &issued, 5).is_ok());
        assert_eq!(add(7).unwrap(), version.next());
        assert_eq!(last().unwrap().kind, added);
        assert_eq!(left(world, &issued), 22);
        refill().unwrap();
        refill().unwrap();
        assert_eq!(left(world, &issued), 20, "whole, however often");
        let before = last();
        for uses in [0, Quota::MAX_USES + 1] {
            let Err(Error::Invalid(invalid)) = add(uses) else { panic!("{uses}") };
            assert_eq!(invalid.field(), "quota.add");
        }
        match of {
            Of::Key => limit(world, &issued, SetLimits::new().clear_quota()),
            Of::Owner => limit_owner(world, id.as_str(), SetLimits::new().clear_quota()),
        }
        for refused in [refill(), add(1)] {
            assert!(matches!(refused, Err(Error::State(StateProblem::NoQuota))), "{refused:?}");
        }
        assert_eq!(last().unwrap().sequence, before.unwrap().sequence + 1);
    });
}

/// An owner refills what it has set itself. What an administrator has set, it may tighten alone.
#[test]
fn owners_refill_what_they_may_loosen() {
    let world = World::new();
    let request = CreateKey::new(Access::Full).limits(quota(once(20)));
    let (keys, theirs) = world.owner_with("org", CreateOwner::with_key(request.clone()));
    let own = keys.create(request).unwrap();
    assert_eq!((left(&world, &theirs), left(&world, &own)), (20, 20));
    keys.refill_quota(own.key.id).unwrap();
    keys.add_to_quota(own.key.id, 3).unwrap();
    assert_eq!(left(&world, &own), 23);
    let forbidden = ForbiddenReason::SetByAdministrator { field: "quota" };
    let id = theirs.key.id;
    for refused in [keys.refill_quota(id), keys.add_to_quota(id, 3)] {
        assert!(matches!(refused, Err(Error::Forbidden(reason)) if reason == forbidden));
    }
    // Tightening and setting the same gives nothing either.
    for uses in [20, 10, 10] {
        keys.update(id, UpdateKey::new().limits(quota(once(uses)))).unwrap();
        assert_eq!(left(&world, &theirs), 0);
    }
}

fn on(backend: &Arc<dyn Backend>, seed: u64, at: Timestamp) -> World {
    let clock = clock();
    clock.set(at);
    let store = builder(&clock, seed).open_on(Arc::clone(backend)).unwrap();
    World::of(Arc::new(store), clock)
}

/// A hundred thousand uses, topped up to ten a day: one use a day costs one, however many processes
/// hold leases over the days' ends.
#[test]
fn leases_outlast_the_period() {
    let backend: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
    let start = Timestamp::from_millis(START).unwrap();
    let first = on(&backend, 1, start);
    let issued = key(&first, "org", quota(topped_up(100_000, 10)), quota(topped_up(90_000, 10)));
    let worlds = [first, on(&backend, 2, start), on(&backend, 3, start)];
    for day in 0..30 {
        // Each is used now and then, the second one late alone.
        let turn = match day % 5 {
            0 | 1 => 0,
            2 | 3 => 2,
            _ => 1,
        };
        worlds[turn].clock.set(start.saturating_add(DAY * day));
        assert!(ask_for(&worlds[turn], &issued, 0).is_ok());
        assert!(ask_for(&worlds[turn], &issued, 1).is_ok());
    }
    for world in &worlds {
        world.clock.set(start.saturating_add(DAY * 30));
        world.store.close().unwrap();
    }
    let of = [UsageSubject::Key(issued.key.id), UsageSubject::Owner(owner("org"))];
    let left = backend.usage(&of).unwrap().into_iter().map(|usage| usage.quota.unwrap().left);
    assert_eq!(left.collect::<Vec<_>>(), [99_970, 89_970]);
}

fn reserve(world: &World, issued: &Issued, cost: u32) -> Reservation {
    let request = VerifyRequest::new(issued.token.expose().as_bytes()).cost(cost);
    world.verifier.verify_reserving(&request).unwrap().1
}

/// A reservation is settled for less or more, from key and owner alike; dropped, it stands.
#[test]
fn a_use_is_charged_after_the_work() {
    let world = World::new();
    let issued = key(&world, "org", quota(once(500)), quota(once(400)));
    let refill = || {
        world.admin.refill_quota(issued.key.id).unwrap();
        world.admin.refill_owner_quota(&owner("org")).unwrap();
    };
    for (reserved, actual, rest) in [
        (100, Some(30), 370),
        (100, Some(100), 300),
        (100, None, 300),
        (100, Some(0), 400),
        (0, Some(7), 393),
        (1, Some(250), 150),
        (10, Some(400), 0),
        (10, Some(450), 0),
    ] {
        let reservation = reserve(&world, &issued, reserved);
        assert_eq!(reservation.cost(), reserved);
        match actual {
            Some(actual) => reservation.settle(actual).unwrap(),
            None => drop(reservation),
        }
        assert_eq!(left(&world, &issued), rest, "{reserved} {actual:?}");
        refill();
    }
    // A rejected use reserves nothing.
    assert!(ask_for(&world, &issued, 400).is_ok());
    let request = VerifyRequest::new(issued.token.expose().as_bytes()).cost(1);
    assert!(world.verifier.verify_reserving(&request).is_err());
    refill();
    // What goes beyond the quota is a debt, until it is paid.
    let reservation = reserve(&world, &issued, 10);
    reservation.settle(420).unwrap();
    assert!(is_exhausted(&ask_for(&world, &issued, 0)));
    world.admin.add_to_owner_quota(&owner("org"), 20).unwrap();
    assert!(is_exhausted(&ask_for(&world, &issued, 0)));
    world.admin.add_to_owner_quota(&owner("org"), 3).unwrap();
    assert_eq!(left(&world, &issued), 3);
}

/// After the period, or another quota, a give-back is gone, and an addition is charged to the quota
/// as it is now.
#[test]
fn a_reservation_of_before_gives_nothing_back() {
    let world = World::new();
    let issued = key(&world, "org", quota(monthly(100)), SetLimits::new());
    let [one, two, three] = [10, 10, 10].map(|cost| reserve(&world, &issued, cost));
    limit(&world, &issued, quota(monthly(90)));
    one.settle(0).unwrap();
    assert_eq!(left(&world, &issued), 60);
    world.clock.advance(DAY * 31);
    two.settle(0).unwrap();
    assert!(ask_for(&world, &issued, 1).is_ok());
    three.settle(15).unwrap();
    assert_eq!(left(&world, &issued), 84);
    // The same quota, in the next month.
    world.clock.advance(DAY * 31);
    let last = reserve(&world, &issued, 10);
    world.clock.advance(DAY * 31);
    last.settle(0).unwrap();
    assert_eq!(left(&world, &issued), 90);
    // A refill is another count, and without a quota there is nothing to charge.
    let last = reserve_after_refill(&world, &issued);
    last.settle(0).unwrap();
    assert_eq!(left(&world, &issued), 90);
    let last = {
        world.admin.refill_quota(issued.key.id).unwrap();
        reserve(&world, &issued, 1)
    };
    limit(&world, &issued, SetLimits::new().clear_quota());
    last.settle(1_000).unwrap();
    assert!(ask_for(&world, &issued, 1_000).is_ok());
    world.store.close().unwrap();
}

fn reserve_after_refill(world: &World, issued: &Issued) -> Reservation {
    world.admin.refill_quota(issued.key.id).unwrap();
    let reservation = reserve(world, issued, 10);
    world.admin.refill_quota(issued.key.id).unwrap();
    reservation
}

/// A charge that the backend refuses changes nothing: neither quota is charged.
#[test]
fn a_charge_that_fails_leaves_both_quotas() {
    let failing = Arc::new(Failing::new(Memory::new()));
    let backend: Arc<dyn Backend> = Arc::<Failing<Memory>>::clone(&failing);
    let world = World::of(Arc::new(builder(&clock(), 1).open_on(backend).unwrap()), clock());
    let issued = key(&world, "org", quota(once(16_000)), quota(once(30)));
    let reservation = reserve(&world, &issued, 10);
    let moment = Moment::Before(BackendErrorKind::Io);
    failing.inject(Fault { target: Target::Usage, nth: 1, moment, lasting: false });
    assert!(matches!(reservation.settle(25), Err(Error::Backend(_))));
    assert_eq!(left(&world, &issued), 20);
    let reservation = reserve_of_closed(&world, &issued);
    assert!(matches!(reservation.settle(3), Err(Error::Unavailable(Unavailable::Closed))));
}

fn reserve_of_closed(world: &World, issued: &Issued) -> Reservation {
    world.admin.refill_owner_quota(&owner("org")).unwrap();
    let reservation = reserve(world, issued, 1);
    world.store.close().unwrap();
    reservation
}

#[test]
fn a_month_may_begin_on_any_day() {
    let world = World::new();
    let moment = |text: &str| -> Timestamp { text.parse().unwrap() };
    for (id, day, before, next, after) in [
        ("a", 15, "2026-01-14T23:59:59Z", "2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z"),
        ("b", 31, "2026-02-27T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("c", 30, "2026-04-29T23:59:59Z", "2026-04-30T00:00:00Z", "2026-05-30T00:00:00Z"),
    ] {
        world.clock.set(moment(before).saturating_sub(DAY));
        let every = Period::month_from(day).unwrap();
        let issued = key(&world, id, quota(Quota::each(20, every).unwrap()), SetLimits::new());
        assert_eq!(left(&world, &issued), 20);
        let exhausted = |until: &str| {
            let (holder, refilled_at) = (LimitHolder::Key, Some(moment(until)));
            VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at })
        };
        world.clock.set(moment(before));
        assert_eq!(ask_for(&world, &issued, 1).unwrap_err(), exhausted(next));
        world.clock.set(moment(next));
        assert_eq!(left(&world, &issued), 20);
        assert_eq!(ask_for(&world, &issued, 0).unwrap_err(), exhausted(after));
        let shown = serde_json::to_value(world.admin.get(issued.key.id).unwrap()).unwrap();
        let expected = format!("month_from_{day}");
        assert_eq!(shown["limits"]["quota"]["value"]["refill"]["period"], expected.as_str());
    }
}
