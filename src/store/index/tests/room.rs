//! Changes that the index can't show are refused beforehand.

use super::super::Index;
use super::super::entry::MAX_OWNER;
use super::super::interned::Owners;
use super::super::room::SPARE;
use super::fixtures::{id, index, key, owner, put_owner};
use super::sets::{key_with, owner_with};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, ScannedKey, ScannedOwner, Write, WriteKey};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Incarnation, Version};
use crate::key::{KeyRecord, Lifetime, OwnerRecord, SettingNames, Settings, Switch};
use crate::store::types::error::IndexLimit;

fn change(write: Write) -> Change {
    let by = Authority::new(Role::Administrator, Actor::new("root").unwrap());
    let event = EventDraft {
        at: Timestamp::MIN,
        kind: EventKind::KeyUpdated,
        owner: None,
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: by,
    };
    Change::of(write, event)
}

fn record(key: &ScannedKey) -> KeyRecord {
    let by = Actor::new("root").unwrap();
    let record = KeyRecord::new(key.id, key.owner, key.current.clone(), Timestamp::MIN, by);
    let limits = key.limits.as_deref().cloned().unwrap_or_default();
    KeyRecord { access: key.access.clone(), limits, ..record }
}

fn create(key: &ScannedKey) -> Change {
    let record = record(key);
    change(Write::CreateKey(Box::new(WriteKey { record, next_numeric_id: false })))
}

fn create_owner(owner: &ScannedOwner) -> Change {
    change(Write::CreateOwner(Box::new(owner_record(owner))))
}

fn owner_record(owner: &ScannedOwner) -> OwnerRecord {
    OwnerRecord {
        sweeps: None,
        tags: crate::key::Tags::default(),
        id: owner.id,
        version: Version::FIRST,
        fixed_defaults: SettingNames::default(),
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        suspended: None,
        max_access: owner.max_access.clone(),
        limits: owner.limits.clone(),
        max_keys: 9,
        lifetime: Lifetime::default(),
        tokens_valid_from: None,
        created_at: Timestamp::MIN,
        created_by: Actor::new("root").unwrap(),
        updated_at: Timestamp::MIN,
    }
}

/// An index of which the last numbers of sets are left to changes that are under way.
fn without_sets() -> Index {
    let index = index();
    put_owner(&index, &owner("org"));
    for bits in 1..4 {
        index.put_key(&key_with(bits.into(), "org", bits)).unwrap();
    }
    let mut writer = index.lock();
    let used = u32::try_from(writer.sets.count().1).unwrap();
    writer.sets.numbers.max = used + SPARE - 2;
    drop(writer);
    index
}

#[test]
fn a_set_too_many_is_refused_and_nothing_else() {
    let index = without_sets();
    let refused = Err(IndexLimit::PermissionSets((1 << 24) - 1));
    assert_eq!(index.expect_room(&create(&key_with(9, "org", 9))), refused);
    let replaced = Write::ReplaceKey(Box::new(record(&key_with(1, "org", 9))));
    assert_eq!(index.expect_room(&change(replaced)), refused);
    assert_eq!(index.expect_room(&create_owner(&owner_with("another", 9))), refused);
    // Its keys would have other sets.
    let narrowed = Write::ReplaceOwner(Box::new(owner_record(&owner_with("org", 1))));
    assert_eq!(index.expect_room(&change(narrowed)), refused);

    // Known sets, and what only ends something.
    assert_eq!(index.expect_room(&create(&key_with(9, "org", 2))), Ok(()));
    assert_eq!(index.expect_room(&create_owner(&owner_with("another", 3))), Ok(()));
    let by = Authority::new(Role::Administrator, Actor::new("root").unwrap());
    let revoked = Some(Switch::new(Timestamp::MIN, &by));
    let revoked = KeyRecord { revoked, ..record(&key_with(1, "org", 9)) };
    assert_eq!(index.expect_room(&change(Write::ReplaceKey(Box::new(revoked)))), Ok(()));
    let by_admin = Some(Switch::new(Timestamp::MIN, &by));
    let blocked = KeyRecord { blocked: by_admin.clone(), ..record(&key_with(1, "org", 9)) };
    assert_eq!(index.expect_room(&change(Write::ReplaceKey(Box::new(blocked)))), Ok(()));
    let deactivated = KeyRecord { deactivated: by_admin, ..record(&key_with(1, "org", 9)) };
    assert_eq!(index.expect_room(&change(Write::ReplaceKey(Box::new(deactivated)))), Ok(()));
    let suspended = Write::ReplaceOwner(Box::new(owner_record(&owner("org"))));
    assert_eq!(index.expect_room(&change(suspended)), Ok(()));
    // A key that is cut to a known set.
    put_owner(&index, &owner_with("narrow", 3));
    assert_eq!(index.expect_room(&create(&key_with(9, "narrow", 7))), Ok(()));
    // A first key comes with its owner.
    let mut both = create_owner(&owner_with("another", 3));
    both.operations.extend(create(&key_with(9, "another", 9 | 3)).operations);
    assert_eq!(index.expect_room(&both), Ok(()));
    both = create_owner(&owner("another"));
    both.operations.extend(create(&key_with(9, "another", 9)).operations);
    assert_eq!(index.expect_room(&both), refused);

    // What shuts a key can be shown where there is no number at all; its set is free then.
    index.lock().sets.numbers.max = 0;
    index.put_key(&ScannedKey { blocked: true, ..key_with(2, "org", 9) }).unwrap();
    assert_eq!(index.lock().sets.count().0, 3);
    index.put_key(&ScannedKey { deactivated: true, ..key_with(3, "org", 9) }).unwrap();
    index.put_key(&ScannedKey { revoked: true, ..key_with(1, "org", 9) }).unwrap();
    assert_eq!(index.lock().sets.count().0, 2);
}

/// Changes that were checked can be shown, though others were checked at the same time.
#[test]
fn what_has_room_can_be_shown() {
    let index = without_sets();
    index.lock().sets.numbers.max += 1;
    let keys = [11, 13].map(|bits| key_with(bits.into(), "org", bits));
    assert!(keys.iter().all(|key| index.expect_room(&create(key)).is_ok()));
    keys.iter().for_each(|key| index.put_key(key).unwrap());
    assert!(index.expect_room(&create(&key_with(99, "org", 15))).is_err());
}

/// The limit that is refused is the one that binds: past another the store would stop.
#[test]
fn there_is_memory_for_each_owner_that_has_a_number() {
    assert!(Owners::MOST > MAX_OWNER.into());
}

#[test]
fn an_owner_too_many_is_refused() {
    let index = index();
    put_owner(&index, &owner("org"));
    assert_eq!(index.expect_room(&create_owner(&owner("another"))), Ok(()));
    // The numbers that are left are for changes under way.
    index.lock().owners.numbers.max = SPARE - 1;
    let refused = Err(IndexLimit::Owners((1 << 28) - 1));
    assert_eq!(index.expect_room(&create_owner(&owner("another"))), refused);
    let known = Write::ReplaceOwner(Box::new(owner_record(&owner("org"))));
    assert_eq!(index.expect_room(&change(known)), Ok(()));
    assert_eq!(index.expect_room(&create(&key(id(1), "org"))), Ok(()));
}
