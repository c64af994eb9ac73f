//! Databases of many keys, written through a backend in large batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyhasp::authority::{Authority, Role};
use keyhasp::backend::{Backend, Change, Write, WriteKey};
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::key::{KeyRecord, Lifetime, Limits, OwnerRecord, SettingNames, Settings, Switch};
use keyhasp::{Access, Actor, Generation, Incarnation, KeyStore, OwnerId, Timestamp, Version};

use crate::synthetic::{Synthetic, builder};

/// Number of keys in the large databases.
pub const KEYS: u64 = 1_000_000;
/// Every so-manieth key is one of the owner with many; all others have about ten each.
const SHARE: u64 = 5;
const KEYS_PER_OWNER: u64 = 10 * SHARE / (SHARE - 1);
/// Every so-manieth key is deactivated.
pub const DEACTIVATED: u64 = 3;
/// Number of records that one commit writes.
const BATCH: usize = 10_000;

pub fn open(backend: impl Backend) -> Arc<dyn KeyStore> {
    Arc::new(builder().open(backend).unwrap())
}

/// The owner of a fifth of all keys.
pub fn owner_of_many() -> OwnerId {
    OwnerId::new("org-of-many").unwrap()
}

/// Fills a new database with this number of keys, whose tokens are those of [`Synthetic`].
pub fn fill<B: Backend>(keys: u64, backend: impl Fn() -> B) {
    fill_as(keys, backend, |number| {
        if number.is_multiple_of(SHARE) { owner_of_many() } else { owner(number / KEYS_PER_OWNER) }
    });
}

/// The same with these owners, of which one has many keys.
pub fn fill_as<B: Backend>(keys: u64, backend: impl Fn() -> B, owner_of: impl Fn(u64) -> OwnerId) {
    // The store's own record.
    open(backend()).close().unwrap();
    let backend = backend();
    let owners: BTreeSet<OwnerId> = (0..keys).map(&owner_of).chain([owner_of_many()]).collect();
    let owners = owners.into_iter().map(|id| create_owner(&owner_record(id)));
    commit(&backend, owners);
    let records = (0..keys).map(|number| key_record(number, owner_of(number)));
    commit(&backend, records.map(|record| create_key(&record)));
    backend.close().unwrap();
}

fn commit(backend: &impl Backend, changes: impl Iterator<Item = Change>) {
    let mut changes = changes.peekable();
    while changes.peek().is_some() {
        let batch: Vec<Change> = changes.by_ref().take(BATCH).collect();
        let outcome = backend.commit(&batch).unwrap();
        assert!(outcome.len() == batch.len() && outcome.iter().all(Result::is_ok));
    }
}

fn owner(number: u64) -> OwnerId {
    OwnerId::new(format!("org-{number:012}")).unwrap()
}

fn actor() -> Actor {
    Actor::new("bench").unwrap()
}

fn by_administrator() -> Authority {
    Authority::new(Role::Administrator, actor())
}

fn owner_record(id: OwnerId) -> OwnerRecord {
    OwnerRecord {
        sweeps: None,
        tags: keyhasp::key::Tags::default(),
        id,
        version: Version::FIRST,
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        fixed_defaults: SettingNames::default(),
        suspended: None,
        max_access: Access::Full,
        limits: Limits::default(),
        max_keys: u32::MAX,
        lifetime: Lifetime::NONE,
        tokens_valid_from: None,
        created_at: Timestamp::MIN,
        created_by: actor(),
        updated_at: Timestamp::MIN,
    }
}

fn key_record(number: u64, owner: OwnerId) -> KeyRecord {
    let scanned = Synthetic::scanned(number, false);
    let deactivated = number.is_multiple_of(DEACTIVATED);
    KeyRecord {
        kind: scanned.kind,
        access: scanned.access,
        expires_at: scanned.expires_at,
        deactivated: deactivated.then(|| Switch::new(Timestamp::MIN, &by_administrator())),
        ..KeyRecord::new(scanned.id, owner, scanned.current, Timestamp::MIN, actor())
    }
}

fn event(kind: EventKind, owner: OwnerId) -> EventDraft {
    EventDraft {
        at: Timestamp::MIN,
        kind,
        owner: Some(owner),
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: by_administrator(),
    }
}

fn create_owner(record: &OwnerRecord) -> Change {
    let event = event(EventKind::OwnerCreated, record.id);
    Change::of(Write::CreateOwner(Box::new(record.clone())), event)
}

fn create_key(record: &KeyRecord) -> Change {
    let event = EventDraft {
        key: Some(record.id),
        generation: Some(Generation::FIRST),
        ..event(EventKind::KeyCreated, record.owner)
    };
    let write = WriteKey { record: record.clone(), next_numeric_id: false };
    Change::of(Write::CreateKey(Box::new(write)), event)
}
