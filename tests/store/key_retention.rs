//! Keys that ended long ago are purged, some at a time.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;
use std::time::Duration;

use crate::common::keep_open::{KeepOpen, Point};
use crate::common::{HOUR, World, builder, clock};
use keyhasp::backend::Memory;
use keyhasp::event::EventKind;
use keyhasp::key::Expiry;
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, KeyId, ListEvents, ManualClock, OwnerKeys, StoreRules,
    UpdateKey, UsageSettings,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);

fn world() -> World {
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    World::with(|builder| builder.rules(rules).key_retention(KEEP), Memory::new())
}

/// A process that has the database open, as others may.
fn open(backend: &Arc<KeepOpen<Memory>>, clock: &Arc<ManualClock>, seed: u64) -> World {
    let builder = builder(clock, seed).key_retention(KEEP);
    let store = builder.open_on(Arc::<KeepOpen<_>>::clone(backend)).unwrap();
    World::of(Arc::new(store), Arc::clone(clock))
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

fn exists(keys: &OwnerKeys, id: KeyId) -> bool {
    match keys.get(id) {
        Ok(_) => true,
        Err(Error::NotFound(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Makes a commit that changes nothing else, for the store to purge beside.
fn commit(keys: &OwnerKeys, id: KeyId, n: usize) {
    keys.update(id, UpdateKey::new().name(format!("n{n}"))).unwrap();
}

#[test]
fn expired_and_revoked_keys_go_when_they_were_kept_long_enough() {
    let world = world();
    let (keys, main) = world.owner("org");
    let revoked = keys.create(full()).unwrap().key.id;
    keys.revoke(revoked).unwrap();
    let expired = keys.create(full().expires_in(DAY)).unwrap().key.id;
    let blocked = keys.create(full().expires_in(DAY)).unwrap().key.id;
    world.admin.block(blocked).unwrap();
    let later = keys.create(full().expires_in(DAY * 2)).unwrap().key.id;
    world.clock.advance(KEEP);
    commit(&keys, main.key.id, 0);
    assert!([revoked, expired, blocked, later].iter().all(|id| exists(&keys, *id)), "not yet");
    world.clock.advance(DAY + HOUR);
    commit(&keys, main.key.id, 1);
    let left = [main.key.id, revoked, expired, blocked, later].map(|id| exists(&keys, id));
    assert_eq!(left, [true, false, false, false, true]);
    let events = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    let purged = events.iter().filter(|event| event.kind == EventKind::KeyPurged);
    let purged: Vec<_> =
        purged.map(|event| (event.key.unwrap(), event.authority.actor.as_str())).collect();
    let expected = [blocked, expired, revoked].map(|id| (id, "keyhasp"));
    assert_eq!(purged, expected, "once each, newest first");
}

#[test]
fn the_last_standard_key_is_not_purged() {
    let world = world();
    let request = CreateOwner::with_key(full().expires_in(DAY));
    let (keys, last) = world.owner_with("org", request);
    let (others, other) = world.owner("other");
    world.clock.advance(KEEP + DAY * 2);
    commit(&others, other.key.id, 0);
    assert!(exists(&keys, last.key.id));
    // Another one stands in for it; the next pass purges it.
    keys.create(full()).unwrap();
    world.clock.advance(DAY);
    commit(&others, other.key.id, 1);
    assert!(!exists(&keys, last.key.id));
}

#[test]
fn nothing_is_purged_by_a_clock_that_is_ahead() {
    let world = world();
    let (keys, main) = world.owner("org");
    let revoked = keys.create(full()).unwrap().key.id;
    keys.revoke(revoked).unwrap();
    // The next pass is due after a sixtieth of the retention.
    world.clock.advance(DAY);
    world.ahead(KEEP * 12, || commit(&keys, main.key.id, 0));
    assert!(exists(&keys, revoked));
    commit(&keys, main.key.id, 1);
    assert!(exists(&keys, revoked));
    world.clock.advance(KEEP);
    commit(&keys, main.key.id, 2);
    assert!(!exists(&keys, revoked));
}

#[test]
fn nothing_is_purged_in_the_first_hour_of_a_process() {
    let (backend, clock) = (Arc::new(KeepOpen::new(Memory::new())), clock());
    let world = open(&backend, &clock, 1);
    let (keys, main) = world.owner("org");
    let revoked = keys.create(full()).unwrap().key.id;
    keys.revoke(revoked).unwrap();
    clock.advance(KEEP + DAY);
    let world = open(&backend, &clock, 2);
    let keys = OwnerKeys::new(Arc::clone(&world.store), main.key.owner, "bob").unwrap();
    clock.advance(HOUR - Duration::from_millis(1));
    commit(&keys, main.key.id, 0);
    assert!(exists(&keys, revoked));
    clock.advance(Duration::from_millis(1));
    commit(&keys, main.key.id, 1);
    assert!(!exists(&keys, revoked));
}

/// The answer about a key that goes beside the change tells the use of it as it was.
#[test]
fn a_change_of_a_key_that_goes_with_it_is_answered_whole() {
    let usage = UsageSettings::new().counts().interval(HOUR);
    let (clock, backend) = (clock(), Memory::new());
    let builder = builder(&clock, 1).key_retention(KEEP).usage(usage);
    let store = Arc::new(builder.open(backend).unwrap());
    let world = World::of(Arc::clone(&store) as _, clock);
    let (keys, _) = world.owner("org");
    let short = keys.create(full().expires_in(DAY)).unwrap();
    for _ in 0..3 {
        world.verifier.verify(short.token.expose()).unwrap();
    }
    store.flush_usage().unwrap();
    world.clock.advance(KEEP + DAY * 2);
    let named = keys.update(short.key.id, UpdateKey::new().name("last")).unwrap();
    assert_eq!(named.usage.unwrap().accepted, Some(3));
    assert!(!exists(&keys, short.key.id));
}

/// A key that is extended before its time has come is kept.
#[test]
fn an_extended_key_is_kept() {
    let world = world();
    let (keys, main) = world.owner("org");
    let key = keys.create(full().expires_in(DAY)).unwrap().key.id;
    world.clock.advance(KEEP);
    keys.extend_expiry(key, Expiry::At(world.after(DAY))).unwrap();
    world.clock.advance(DAY * 2);
    commit(&keys, main.key.id, 0);
    assert!(exists(&keys, key));
}

/// An owner that makes and revokes keys all the time doesn't grow without bound; each commit purges
/// no more than some dozens.
#[test]
fn many_keys_go_some_at_a_time() {
    let world = world();
    let (keys, main) = world.owner("org");
    let many: Vec<KeyId> = (0..200)
        .map(|_| {
            let id = keys.create(full()).unwrap().key.id;
            keys.revoke(id).unwrap();
            id
        })
        .collect();
    world.clock.advance(KEEP + HOUR);
    let left = || many.iter().filter(|id| exists(&keys, **id)).count();
    let mut counts = Vec::new();
    for n in 0..5 {
        commit(&keys, main.key.id, n);
        counts.push(left());
    }
    assert_eq!(counts, [136, 72, 8, 0, 0]);
}

#[test]
fn a_retention_under_an_hour_is_refused() {
    let clock = crate::common::clock();
    let short = HOUR - Duration::from_secs(1);
    let opened = crate::common::builder(&clock, 1).key_retention(short).open(Memory::new());
    let Err(Error::Invalid(invalid)) = opened else { panic!("{opened:?}") };
    assert!(invalid.to_string().contains("key retention"), "{invalid}");
}

/// Another process may purge the same keys between this one's look at them and its commit.
#[test]
fn two_processes_purge_each_key_once() {
    let (backend, clock) = (Arc::new(KeepOpen::new(Memory::new())), clock());
    let (a, b) = (open(&backend, &clock, 1), open(&backend, &clock, 2));
    let (keys, main) = a.owner("org");
    for _ in 0..30 {
        keys.revoke(keys.create(full()).unwrap().key.id).unwrap();
    }
    let others = OwnerKeys::new(Arc::clone(&b.store), main.key.owner, "bob").unwrap();
    let second = keys.create(full()).unwrap().key.id;
    clock.advance(KEEP + HOUR);
    // The purge is the second commit of this process.
    let again = Arc::clone(&backend);
    backend.plan(Point::BeforeCommit, move || {
        again.plan(Point::BeforeCommit, move || commit(&others, second, 1));
    });
    commit(&keys, main.key.id, 0);
    let events = a.admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    let purged = events.iter().filter(|event| event.kind == EventKind::KeyPurged);
    let mut purged: Vec<KeyId> = purged.filter_map(|event| event.key).collect();
    assert_eq!(purged.len(), 30);
    purged.sort_unstable();
    purged.dedup();
    assert_eq!(purged.len(), 30);
}
