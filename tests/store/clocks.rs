//! A clock that is wrong for a moment does no lasting harm.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;
use std::time::Duration;

use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, World, builder, clock, owner};
use keyhasp::backend::{Backend, EventFilter, EventQuery, Memory};
use keyhasp::key::{Period, Quota};
use keyhasp::{
    Access, AlertSettings, CreateKey, CreateOwner, Error, EventKind, Issued, ListEvents,
    ManualClock, OwnerKeys, Rotate, SetLimits, Store, Timestamp, UsageSettings, VerifyRequest,
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The steps ahead that a clock makes, for one call each.
const STEPS: [Duration; 3] = [HOUR, DAY.saturating_mul(3), DAY.saturating_mul(365)];

impl World {
    /// Makes a call while wall time is ahead.
    pub(crate) fn ahead<T>(&self, by: Duration, call: impl FnOnce() -> T) -> T {
        let right = self.now();
        self.clock.set(right.saturating_add(by));
        let answer = call();
        self.clock.set(right);
        answer
    }
}

fn pruned_through(world: &World) -> u64 {
    world.admin.events(&ListEvents::new()).unwrap().pruned_through
}

#[test]
fn the_retention_of_events_waits_for_a_right_clock_and_goes_on_with_it() {
    for by in STEPS {
        let keep = HOUR * 24 * 90;
        let keep = if by < keep { HOUR } else { keep };
        let world = World::with(|builder| builder.event_retention(keep), Memory::new());
        world.clock.advance(HOUR * 2);
        for n in 0..25 {
            world.owner(&format!("org-{n}"));
        }
        // The event of the store's creation may be old enough.
        let before = pruned_through(&world);
        let (_, health) = world.ahead(by, || (world.owner("ahead"), world.store.health()));
        assert_eq!(health.clock_ahead.unwrap().by, by);
        assert_eq!(pruned_through(&world), before, "{by:?}");
        world.owner("right");
        let health = world.store.health();
        assert_eq!((pruned_through(&world), health.clock_ahead), (before, None));
        world.clock.advance(keep + MINUTE);
        world.owner("later");
        // All before the event that was dated ahead.
        assert_eq!(pruned_through(&world), 51, "{by:?}");
    }
}

/// A pruning by hand is the caller's own word.
#[test]
fn pruning_by_hand_goes_on_while_the_clock_is_ahead() {
    let world = World::with(|builder| builder.event_retention(HOUR), Memory::new());
    world.owner("org");
    let before = world.after(HOUR);
    assert_eq!(world.ahead(DAY * 365, || world.admin.prune_events(before)).unwrap(), 2);
}

#[test]
fn a_process_prunes_nothing_in_its_first_hour() {
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let open = |after| {
        let clock = clock();
        clock.advance(after);
        let builder = builder(&clock, 1).event_retention(HOUR);
        World::of(Arc::new(builder.open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap()), clock)
    };
    open(Duration::ZERO).owner("old");
    let world = open(DAY);
    // A step of wall time of up to a minute counts as none, but it doesn't end the hour.
    world.clock.advance(HOUR - MINUTE);
    world.clock.set(world.after(MINUTE));
    world.owner("first");
    assert_eq!(pruned_through(&world), 0);
    world.clock.advance(MINUTE);
    world.owner("second");
    assert_eq!(pruned_through(&world), 3);
}

#[test]
fn a_clock_behind_the_log_is_told_and_refused_on_request() {
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let world = World::of(
        Arc::new(builder(&clock(), 1).open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap()),
        clock(),
    );
    world.owner("org");
    let newest = world.now();
    drop(world);
    let open = |now: Timestamp, seed| {
        let clock = Arc::new(ManualClock::new(now));
        let builder = builder(&clock, seed).refuse_clock_behind_log();
        builder.open_on(Arc::<KeepOpen<_>>::clone(&backend))
    };
    let behind = newest.saturating_sub(MINUTE + Duration::from_millis(1));
    for now in [Timestamp::MIN, behind] {
        match open(now, 2) {
            Err(Error::ClockBehindLog(told)) => {
                assert_eq!((told.now, told.newest_event), (now, newest));
            }
            other => panic!("{other:?}"),
        }
    }
    drop(open(newest.saturating_sub(MINUTE), 3).unwrap());

    let clock = Arc::new(ManualClock::new(Timestamp::MIN));
    let store = builder(&clock, 4).open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap();
    let world = World::of(Arc::new(store), Arc::clone(&clock));
    let told = world.store.health().clock_behind_log.unwrap();
    assert_eq!((told.now, told.newest_event), (Timestamp::MIN, newest));
    // An event with the wrong time doesn't make it right.
    world.owner("later");
    assert!(world.store.health().clock_behind_log.is_some());
    clock.set(newest);
    assert_eq!(world.store.health().clock_behind_log, None);
    let all = EventQuery {
        after: 0,
        before: None,
        filter: EventFilter::default(),
        limit: 100,
        examine: 100,
    };
    assert_eq!(backend.events(&all).unwrap().events.len(), 5);
}

#[test]
fn a_quota_goes_on_after_the_clock_was_ahead() {
    for (period, by) in
        [(Period::Day, DAY * 3), (Period::Day, DAY * 365), (Period::Month, DAY * 365)]
    {
        let world = World::new();
        let limits = SetLimits::new().quota(Quota::each(3, period).unwrap());
        let request = CreateKey::new(Access::Full).limits(limits);
        let (_, issued) = world.owner_with("org", CreateOwner::with_key(request));
        let token = issued.token.expose().to_owned();
        let uses = || (0..9).take_while(|_| world.verifier.verify(&token).is_ok()).count();
        assert_eq!(uses(), 3);
        // The period that comes by a clock that is ahead is refilled, as it was found.
        assert_eq!(world.ahead(by, uses), 3);
        assert_eq!(uses(), 0);
        world.clock.set(period.start_after(world.now()).unwrap());
        assert_eq!(uses(), 3, "{period:?} {by:?}");
        assert_eq!(uses(), 0);
    }
}

/// A lease of a period far ahead would last past the ends of others, and no refill would come.
#[test]
fn a_lease_that_was_taken_ahead_keeps_no_refill_away() {
    for (period, by) in [
        (Period::Day, DAY * 3),
        (Period::Day, DAY * 365),
        (Period::Week, DAY * 21),
        (Period::Month, DAY * 365),
    ] {
        let world = World::new();
        let limits = SetLimits::new().quota(Quota::each(100, period).unwrap());
        let request = CreateKey::new(Access::Full).limits(limits);
        let (_, issued) = world.owner_with("org", CreateOwner::with_key(request));
        let is_accepted = || world.verifier.verify(issued.token.expose()).is_ok();
        // A use leases more than itself.
        assert!(world.ahead(by, is_accepted) && is_accepted());
        world.clock.set(period.start_after(world.now()).unwrap());
        let uses = (0..200).take_while(|_| is_accepted()).count();
        assert_eq!(uses, 100, "{period:?} {by:?}");
    }
}

/// Whether the tokens of a key are accepted: before the rotation, and after it.
fn are_accepted(world: &World, tokens: &[&Issued]) -> Vec<bool> {
    let verify = |issued: &&Issued| world.verifier.verify(issued.token.expose()).is_ok();
    tokens.iter().map(verify).collect()
}

#[test]
fn an_invalidation_up_to_now_reaches_tokens_stamped_after_now() {
    type Invalidate = fn(&World, Timestamp);
    let by_store: Invalidate =
        |world, to| _ = world.admin.invalidate_tokens_issued_before(to).unwrap();
    let by_owner: Invalidate = |world, to| {
        let _ = world.admin.invalidate_owner_tokens_issued_before(&owner("org"), to).unwrap();
    };
    for by in STEPS {
        for invalidate in [by_store, by_owner] {
            let backend = Arc::new(KeepOpen::new(Memory::new()));
            let clock = clock();
            let open = |seed| {
                let builder = builder(&clock, seed);
                let store = builder.open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap();
                World::of(Arc::new(store), Arc::clone(&clock))
            };
            let world = open(1);
            let (keys, first) = world.owner("org");
            let rotated =
                world.ahead(by, || keys.rotate(first.key.id, Rotate::with_grace(DAY))).unwrap();
            let created = world.ahead(by, || keys.create(CreateKey::new(Access::Full))).unwrap();
            // Of the minute that counts as now.
            clock.advance(HOUR / 2);
            let late = keys.create(CreateKey::new(Access::Full)).unwrap();
            clock.advance(MINUTE);
            let tokens = [&first, &rotated, &created, &late];
            assert_eq!(are_accepted(&world, &tokens), [true; 4]);
            invalidate(&world, world.now().saturating_sub(MINUTE));
            assert_eq!(are_accepted(&world, &tokens), [false, false, false, true], "{by:?}");
            let reissued = keys.rotate(created.key.id, Rotate::forced()).unwrap();
            let tokens = [&first, &rotated, &created, &late, &reissued];
            let expected = [false, false, false, true, true];
            assert_eq!(are_accepted(&world, &tokens), expected, "{by:?}");
            drop(world);
            // The next one reaches what came since, and revives nothing.
            let world = open(2);
            assert_eq!(are_accepted(&world, &tokens), expected, "opened again, {by:?}");
            clock.advance(MINUTE);
            invalidate(&world, world.now());
            assert_eq!(are_accepted(&world, &tokens), [false; 5], "{by:?}");
            clock.advance(by);
            assert_eq!(are_accepted(&world, &tokens), [false; 5], "{by:?}");
        }
    }
}

/// Its moment would hide every later one until it comes.
#[test]
fn an_invalidation_that_was_made_ahead_hides_no_later_one() {
    for by in STEPS {
        let world = World::new();
        let (keys, first) = world.owner("org");
        let ahead =
            world.ahead(by, || world.admin.invalidate_tokens_issued_before(world.now()).unwrap());
        assert_eq!(ahead.tokens_valid_from, Some(world.after(by)));
        let second = keys.create(CreateKey::new(Access::Full)).unwrap();
        assert_eq!(are_accepted(&world, &[&first, &second]), [false, true]);
        world.clock.advance(MINUTE);
        let rules = world.admin.invalidate_tokens_issued_before(world.now()).unwrap();
        assert_eq!(rules.tokens_valid_from, Some(world.now()));
        let third = keys.create(CreateKey::new(Access::Full)).unwrap();
        assert_eq!(are_accepted(&world, &[&first, &second, &third]), [false, false, true]);
    }
}

#[test]
fn a_last_use_that_was_noted_ahead_counts_as_noted_now() {
    for by in STEPS {
        let clock = clock();
        let usage = UsageSettings::new().resolution(Duration::from_secs(1)).addresses(HOUR);
        let store = Arc::new(builder(&clock, 1).usage(usage).open(Memory::new()).unwrap());
        let world = World::of(Arc::clone(&store) as _, clock);
        let (keys, issued) = world.owner("org");
        let (id, token) = (issued.key.id, issued.token.expose().to_owned());
        let from = |last: u8| {
            let address = std::net::IpAddr::from([10, 0, 0, last]);
            world.verifier.verify_request(&VerifyRequest::new(token.as_bytes()).address(address))
        };
        let usage = || keys.get(id).unwrap().usage.unwrap();
        world.ahead(by, || {
            from(1).unwrap();
            store.flush_usage().unwrap();
        });
        let noted = world.now();
        assert_eq!(usage().last_used_at, Some(noted), "{by:?}");
        store.flush_usage().unwrap();
        world.clock.advance(MINUTE);
        let shown = usage();
        assert_eq!(shown.last_used_at, Some(noted));
        assert_eq!(shown.last_address.unwrap().at, noted);
        from(2).unwrap();
        store.flush_usage().unwrap();
        assert_eq!(usage().last_used_at, Some(world.now()));
        assert_eq!(usage().last_address.unwrap().at, world.now());
        world.clock.advance(HOUR + MINUTE);
        assert_eq!(usage().last_address, None);
    }
}

/// What waits in memory while the clock is set right is settled when it is written.
#[test]
fn a_use_that_waits_while_the_clock_is_set_right_is_not_written_ahead() {
    let clock = clock();
    let usage = UsageSettings::new().resolution(Duration::from_secs(1));
    let store = Arc::new(builder(&clock, 1).usage(usage).open(Memory::new()).unwrap());
    let world = World::of(Arc::clone(&store) as _, clock);
    let (keys, issued) = world.owner("org");
    world.ahead(DAY * 365, || world.verifier.verify(issued.token.expose()).unwrap());
    store.flush_usage().unwrap();
    let noted = world.now();
    world.clock.advance(DAY);
    assert_eq!(keys.get(issued.key.id).unwrap().usage.unwrap().last_used_at, Some(noted));
}

/// Scans, and returns the kinds of the alerts that were written.
fn scan(world: &World, store: &Store) -> Vec<EventKind> {
    let events = || world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    let before = events().len();
    let _ = store.run_alerts().unwrap();
    events()[before..].iter().map(|event| event.kind).collect()
}

#[test]
fn an_alert_that_was_written_early_is_written_again_when_it_is_due() {
    for by in [DAY * 3, DAY * 365] {
        let backend = Arc::new(KeepOpen::new(Memory::new()));
        let alerts = AlertSettings::new()
            .expiries()
            .tokens_older_than(DAY)
            .keys_unused_for(DAY)
            .only_when_asked();
        let clock = clock();
        let open = |seed| {
            let usage = UsageSettings::new().resolution(MINUTE);
            let builder = builder(&clock, seed).alerts(alerts).usage(usage);
            let store = Arc::new(builder.open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap());
            (World::of(Arc::clone(&store) as _, Arc::clone(&clock)), store)
        };
        let (world, store) = open(1);
        let request = CreateKey::new(Access::Full).expires_in(DAY * 2);
        let _ = world.owner_with("org", CreateOwner::with_key(request));
        let all = [EventKind::KeyExpired, EventKind::TokenOld, EventKind::KeyUnused];
        let sorted = |mut kinds: Vec<EventKind>| {
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(sorted(world.ahead(by, || scan(&world, &store))), sorted(all.to_vec()));
        assert_eq!(world.ahead(by, || scan(&world, &store)), []);
        assert_eq!(scan(&world, &store), []);
        clock.advance(DAY);
        let day = [EventKind::TokenOld, EventKind::KeyUnused];
        assert_eq!(sorted(scan(&world, &store)), sorted(day.to_vec()), "{by:?}");
        assert_eq!(scan(&world, &store), []);
        drop((world, store));
        // A process that was not there when they were early.
        let (world, store) = open(2);
        assert_eq!(scan(&world, &store), []);
        clock.advance(DAY);
        assert_eq!(scan(&world, &store), [EventKind::KeyExpired], "{by:?}");
        clock.advance(by);
        assert_eq!(scan(&world, &store), []);
    }
}

/// To the log it looks like a clock that was ahead at the rotation. An opening that refuses it leaves
/// the grace as it was.
#[test]
fn a_clock_behind_the_log_ends_graces_early_unless_it_is_refused() {
    for is_refused in [true, false] {
        let backend = Arc::new(KeepOpen::new(Memory::new()));
        let clock = clock();
        let open = |seed, refuses: bool| {
            let builder = builder(&clock, seed);
            let builder = if refuses { builder.refuse_clock_behind_log() } else { builder };
            builder.open_on(Arc::<KeepOpen<_>>::clone(&backend))
        };
        let world = World::of(Arc::new(open(1, true).unwrap()), Arc::clone(&clock));
        let (keys, first) = world.owner("org");
        keys.rotate(first.key.id, Rotate::with_grace(DAY)).unwrap();
        let right = world.now();
        drop(world);
        clock.set(right.saturating_sub(DAY * 35));
        match open(2, is_refused) {
            Err(Error::ClockBehindLog(_)) if is_refused => {}
            Ok(store) if !is_refused => {
                let world = World::of(Arc::new(store), Arc::clone(&clock));
                assert_eq!(are_accepted(&world, &[&first]), [true]);
                clock.advance(DAY);
                assert_eq!(are_accepted(&world, &[&first]), [false]);
            }
            other => panic!("{other:?}"),
        }
        clock.set(right.saturating_add(HOUR));
        let world = World::of(Arc::new(open(3, true).unwrap()), Arc::clone(&clock));
        assert_eq!(are_accepted(&world, &[&first]), [is_refused]);
    }
}

/// A rotation by a process that opens the database with a clock that is ahead, or has it open.
#[test]
fn a_grace_that_was_reckoned_ahead_ends_no_later_than_its_length_after_that() {
    for by in STEPS {
        for is_opened_ahead in [false, true] {
            let backend = Arc::new(KeepOpen::new(Memory::new()));
            let clock = clock();
            let open = |seed| {
                let builder = builder(&clock, seed);
                let store = builder.open_on(Arc::<KeepOpen<_>>::clone(&backend)).unwrap();
                World::of(Arc::new(store), Arc::clone(&clock))
            };
            let mut world = open(1);
            let (keys, first) = world.owner("org");
            let right = world.now();
            clock.set(right.saturating_add(by));
            if is_opened_ahead {
                world = open(2);
            }
            let keys_ahead = OwnerKeys::new(Arc::clone(&world.store), owner("org"), "al").unwrap();
            let rotated = keys_ahead.rotate(first.key.id, Rotate::with_grace(HOUR)).unwrap();
            clock.set(right);
            let _ = keys;
            let tokens = [&first, &rotated];
            if is_opened_ahead {
                // This process doesn't know its clock for wrong. The next call mends the grace.
                world.owner("another");
            }
            assert_eq!(are_accepted(&world, &tokens), [true, true]);
            clock.advance(HOUR - MINUTE);
            assert_eq!(are_accepted(&world, &tokens), [true, true]);
            world.owner("next");
            let shown = world.admin.get(first.key.id).unwrap();
            assert_eq!(shown.previous_tokens[0].ends_at, right.saturating_add(HOUR), "{by:?}");
            drop(world);
            let world = open(3);
            assert_eq!(are_accepted(&world, &tokens), [true, true]);
            clock.advance(MINUTE);
            assert_eq!(are_accepted(&world, &tokens), [false, true], "{by:?}");
        }
    }
}

#[test]
fn a_grace_that_was_reckoned_ahead_ends_without_a_further_change() {
    for by in STEPS {
        let world = World::new();
        let (keys, first) = world.owner("org");
        let rotated =
            world.ahead(by, || keys.rotate(first.key.id, Rotate::with_grace(HOUR))).unwrap();
        world.clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(are_accepted(&world, &[&first, &rotated]), [true, true]);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(are_accepted(&world, &[&first, &rotated]), [false, true], "{by:?}");
    }
}
