//! Expired keys give up their places and names to newer ones.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::time::Duration;

use crate::common::{HOUR, World, owner};
use keyhasp::backend::Memory;
use keyhasp::event::{EventKind, Fields};
use keyhasp::key::{Expiry, RejectReason};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, Issued, KeyId, ListEvents, OwnerKeys, State, StoreRules,
    UpdateKey, UpdateOwner, VerifyError,
};

/// The time for which a key must have been expired.
const MINUTES: Duration = Duration::from_secs(5 * 60);

fn unique() -> World {
    let rules = StoreRules { unique_names: true, keep_standard_key: true, ..StoreRules::default() };
    World::with(|builder| builder.rules(rules), Memory::new())
}

/// An owner that may have so many keys; the first never expires.
fn full(world: &World, max_keys: u32) -> (OwnerKeys, Issued) {
    let first = CreateKey::new(Access::Full).name("main");
    world.owner_with("org", CreateOwner::with_key(first).max_keys(max_keys))
}

fn hourly() -> CreateKey {
    CreateKey::new(Access::Full).expires_in(HOUR)
}

fn is_too_many<T: std::fmt::Debug>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::TooManyKeys { .. }))
}

fn state(keys: &OwnerKeys, id: KeyId) -> (State, bool) {
    let key = keys.get(id).unwrap();
    (key.state, key.lapsed_at.is_some())
}

#[test]
fn a_key_lapses_by_a_creation_that_needs_its_place_and_never_by_time() {
    let world = unique();
    let (keys, _) = full(&world, 3);
    let first = keys.create(hourly()).unwrap();
    world.clock.advance(Duration::from_secs(1));
    let second = keys.create(hourly()).unwrap();
    world.clock.advance(HOUR * 24);
    assert_eq!(state(&keys, first.key.id), (State::Expired, false), "time alone");
    let before = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items.len();
    let third = keys.create(hourly()).unwrap();
    assert_eq!(state(&keys, first.key.id), (State::Expired, true), "the longest expired");
    assert_eq!(state(&keys, second.key.id), (State::Expired, false));
    let events = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    let [lapse, creation] = &events[before..] else { panic!("two events, not {events:?}") };
    assert_eq!((lapse.kind, lapse.key), (EventKind::KeyLapsed, Some(first.key.id)));
    assert_eq!((lapse.fields, lapse.at), (Fields::LAPSED, world.now()));
    assert_eq!(lapse.authority.actor.as_str(), "alice");
    assert_eq!((creation.kind, creation.key), (EventKind::KeyCreated, Some(third.key.id)));
    assert_eq!(creation.sequence, lapse.sequence + 1);
    let expired = Err(VerifyError::Rejected(RejectReason::Expired));
    assert_eq!(world.verifier.verify(first.token.expose()).map(|_| ()), expired);
    assert!(world.verifier.verify(third.token.expose()).is_ok());
}

/// The place of a lapsed key is taken, so a clock that steps back doesn't bring it back.
#[test]
fn a_lapsed_key_stays_expired_when_the_clock_steps_back() {
    let world = unique();
    let (keys, _) = full(&world, 2);
    let first = keys.create(hourly()).unwrap();
    let right = world.now();
    world.clock.advance(HOUR * 2);
    keys.create(hourly()).unwrap();
    world.clock.set(right);
    let expired = Err(VerifyError::Rejected(RejectReason::Expired));
    assert_eq!(world.verifier.verify(first.token.expose()).map(|_| ()), expired);
    assert_eq!(state(&keys, first.key.id), (State::Expired, true));
}

#[test]
fn a_key_must_have_been_expired_for_five_minutes() {
    let world = unique();
    let (keys, _) = full(&world, 2);
    keys.create(hourly().name("ci")).unwrap();
    world.clock.advance(HOUR + MINUTES - Duration::from_millis(1));
    assert!(is_too_many(&keys.create(hourly())));
    let taken = keys.create(hourly().name("ci"));
    assert!(matches!(taken, Err(Error::NameTaken(_))), "{taken:?}");
    world.clock.advance(Duration::from_millis(1));
    keys.create(hourly().name("ci")).unwrap();
}

/// A clock that was set ahead ends nothing for good.
#[test]
fn no_key_lapses_by_a_clock_that_has_jumped() {
    let world = unique();
    let (keys, _) = full(&world, 2);
    let first = keys.create(hourly()).unwrap();
    let right = world.now();
    world.clock.set(world.after(HOUR * 24));
    assert!(is_too_many(&keys.create(hourly())));
    world.clock.set(right);
    assert!(world.verifier.verify(first.token.expose()).is_ok());
    world.clock.advance(HOUR * 24);
    keys.create(hourly()).unwrap();
}

/// A build server makes an hourly key under one name, and never stops.
#[test]
fn hourly_keys_go_on_for_ever() {
    let world = unique();
    let (keys, _) = full(&world, 4);
    for round in 0..50 {
        let name = if round % 2 == 0 { "build" } else { "deploy" };
        keys.create(hourly().name(name)).unwrap();
        world.clock.advance(HOUR + MINUTES);
    }
}

#[test]
fn a_renaming_takes_the_name_of_an_expired_key() {
    let world = unique();
    let (keys, main) = full(&world, 10);
    let old = keys.create(hourly().name("deploy")).unwrap();
    world.clock.advance(HOUR * 2);
    let renamed = keys.update(main.key.id, UpdateKey::new().name("deploy")).unwrap();
    assert_eq!(renamed.name.unwrap().as_str(), "deploy");
    assert_eq!(state(&keys, old.key.id), (State::Expired, true));
}

#[test]
fn extending_a_lapsed_key_is_judged_as_a_creation() {
    let world = unique();
    let (keys, _) = full(&world, 2);
    let old = keys.create(hourly().name("ci")).unwrap();
    world.clock.advance(HOUR * 2);
    let new = keys.create(hourly().name("ci")).unwrap();
    let extended = keys.extend_expiry(old.key.id, Expiry::At(world.after(HOUR)));
    assert!(matches!(extended, Err(Error::NameTaken(id)) if id == new.key.id), "{extended:?}");
    // Without the name it still needs a place.
    keys.update(old.key.id, UpdateKey::new().clear_name()).unwrap();
    assert!(is_too_many(&keys.extend_expiry(old.key.id, Expiry::At(world.after(HOUR)))));
    assert_eq!(state(&keys, old.key.id), (State::Expired, true));
    world.admin.update_owner(&owner("org"), UpdateOwner::new().max_keys(3)).unwrap();
    let extended = keys.extend_expiry(old.key.id, Expiry::At(world.after(HOUR))).unwrap();
    assert_eq!((extended.state, extended.lapsed_at), (State::Active, None));
    assert!(world.verifier.verify(old.token.expose()).is_ok());
    let last = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items.pop().unwrap();
    assert_eq!(last.kind, EventKind::KeyExpiryExtended);
    assert_eq!(last.fields, Fields::EXPIRY.with(Fields::LAPSED));
    // It has a place again, and so it may give it up again.
    world.clock.advance(HOUR * 2);
    keys.create(hourly()).unwrap();
}

/// Of an owner's standard keys one stays, expired or not.
#[test]
fn the_last_standard_key_does_not_lapse() {
    let world = unique();
    let request = CreateOwner::with_key(hourly().name("main")).max_keys(1);
    let (keys, first) = world.owner_with("org", request);
    world.clock.advance(HOUR * 2);
    let trial = CreateKey::trial(Access::Full, Expiry::At(world.after(HOUR)));
    assert!(is_too_many(&world.admin.create(&owner("org"), trial)));
    assert_eq!(state(&keys, first.key.id), (State::Expired, false));
    let heir = keys.create(hourly().name("main")).unwrap();
    assert_eq!(state(&keys, first.key.id), (State::Expired, true));
    let last = keys.revoke(heir.key.id);
    assert!(matches!(last, Err(Error::LastStandardKey)), "{last:?}");
}

/// A lapsed key could be extended, so it is revoked with the others.
#[test]
fn revoking_all_keys_revokes_the_lapsed() {
    let world = World::new();
    let (keys, _) = full(&world, 2);
    let lapsed = keys.create(hourly()).unwrap();
    world.clock.advance(HOUR * 2);
    keys.create(hourly()).unwrap();
    assert_eq!(state(&keys, lapsed.key.id), (State::Expired, true));
    assert_eq!(keys.revoke_all(None).unwrap().revoked, 3);
    assert_eq!(state(&keys, lapsed.key.id).0, State::Revoked);
    let revived = world.admin.extend_expiry(lapsed.key.id, Expiry::At(world.after(HOUR)));
    assert!(matches!(revived, Err(Error::State(_))), "{revived:?}");
}

#[cfg(feature = "testing")]
mod unknown_outcomes {
    use std::sync::Arc;

    use super::*;
    use crate::common::{builder, clock};
    use keyhasp::backend::BackendErrorKind;
    use keyhasp::testing::{Failing, Fault, Moment, Target};

    /// Once the outcome is known, the index shows the lapse that the change made.
    #[test]
    fn a_lapse_of_unknown_outcome_is_found() {
        let clock = clock();
        let backend = Arc::new(Failing::new(Memory::new()));
        let store = builder(&clock, 3).open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
        let world = World::of(Arc::new(store), clock);
        let (keys, _) = full(&world, 2);
        let first = keys.create(hourly()).unwrap();
        let right = world.now();
        world.clock.advance(HOUR * 2);
        let target = Target::Commits;
        backend.inject(Fault { target, nth: 1, moment: Moment::After, lasting: false });
        let unwell = Moment::Before(BackendErrorKind::Io);
        backend.inject(Fault { target: Target::Recoveries, nth: 1, moment: unwell, lasting: true });
        let created = keys.create(hourly());
        assert!(matches!(created, Err(Error::OutcomeUnknown(_))), "{created:?}");
        backend.heal();
        world.store.recover().unwrap();
        assert_eq!(state(&keys, first.key.id), (State::Expired, true));
        world.clock.set(right);
        let expired = Err(VerifyError::Rejected(RejectReason::Expired));
        assert_eq!(world.verifier.verify(first.token.expose()).map(|_| ()), expired);
    }
}
