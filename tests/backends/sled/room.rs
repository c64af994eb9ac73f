//! What a database takes: no file in `blobs/`, which sled never syncs, however it is used.

use std::fs;
use std::path::Path;

use keyhasp::authority::{Actor, Reason};
use keyhasp::backend::sled::Sled;
use keyhasp::backend::{Backend, Change, Write};
use keyhasp::event::EventKind;
use keyhasp::id::Version;
use keyhasp::key::{KeyName, KeyRecord, PreviousToken, Seal, SetBy, Switch};

use crate::common::records::{key_picture, longest_access, longest_settings};
use crate::sled::fixture::{
    Fixture, at, commit, create_key, create_owner, create_store, event, key, metadata, options,
    owner, remove_key, replace_key,
};

/// A key whose every field is as long as it can be.
fn longest(id: u128) -> KeyRecord {
    let mut key = key(&"o".repeat(64), id);
    let switch = Switch {
        at: at(1),
        by: Actor::new("b".repeat(Actor::MAX_LEN)).unwrap(),
        reason: Some(Reason::new("r".repeat(Reason::MAX_LEN)).unwrap()),
        set_by: SetBy::Administrator,
        reason_for_owner: true,
    };
    key.name = Some(KeyName::new("n".repeat(KeyName::MAX_LEN)).unwrap());
    key.access = longest_access();
    key.settings = longest_settings();
    key.created_by = switch.by.clone();
    key.deactivated = Some(switch.clone());
    key.blocked = Some(switch.clone());
    key.previous =
        vec![PreviousToken { token: key.current.clone(), since: at(1), ends_at: at(9) }; 5];
    key.seal = Some(Seal { key_number: 1, nonce: [1; 24], ciphertext: vec![2; 150].into() });
    key
}

fn next(record: &KeyRecord, from: KeyRecord) -> KeyRecord {
    KeyRecord { version: Version::new(record.version.get() + 1), ..from }
}

/// Ids in an order of no kind, so that pages split everywhere.
fn id(number: u128) -> u128 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn expect_no_blobs(dir: &Path) {
    let blobs = fs::read_dir(dir.join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "sled wrote a page to a file that it never syncs");
}

#[test]
fn the_longest_records_in_the_greatest_batches() {
    let fixture = Fixture::new();
    let small = options().cache_capacity(1);
    let store = Sled::open_or_create(fixture.dir(), small).unwrap().0;
    commit(&store, create_store(metadata())).unwrap();
    commit(&store, create_owner(&"o".repeat(64))).unwrap();

    // A batch is several segments of sled's log, and more than its cache.
    let mut keys: Vec<KeyRecord> = (0..192).map(|n| longest(id(n))).collect();
    for batch in keys.chunks(64) {
        let batch: Vec<Change> = batch.iter().cloned().map(create_key).collect();
        assert!(store.commit(&batch).unwrap().iter().all(Result::is_ok));
        expect_no_blobs(&fixture.generation(1));
    }
    // Longer and shorter in turn, also one by one.
    for round in 0..4 {
        for (number, key) in keys.iter_mut().enumerate() {
            if number % 4 == round {
                let short = crate::sled::fixture::key(key.owner.as_str(), key.id.as_u128());
                let from = if round % 2 == 0 { short } else { longest(key.id.as_u128()) };
                *key = next(key, from);
                commit(&store, replace_key(key.clone())).unwrap();
            }
        }
        let all: Vec<Change> = keys
            .iter_mut()
            .map(|key| {
                *key = next(key, key.clone());
                replace_key(key.clone())
            })
            .collect();
        assert!(store.commit(&all).unwrap().iter().all(Result::is_ok));
        expect_no_blobs(&fixture.generation(1));
    }
    // Removing makes sled merge pages.
    for key in keys.drain(100..) {
        commit(&store, remove_key(&key)).unwrap();
    }
    expect_no_blobs(&fixture.generation(1));
    let expect_keys = |store: &Sled| {
        for key in &keys {
            assert_eq!(key_picture(&store.key(key.id).unwrap().unwrap()), key_picture(key));
        }
    };
    expect_keys(&store);
    drop(store);
    let store = fixture.open().unwrap();
    expect_keys(&store);
    store.recover().unwrap();
    expect_keys(&store);
    expect_no_blobs(&fixture.generation(2));

    // Nothing of what was removed or replaced is left in the chunks.
    store.close().unwrap();
    let stored = fixture.stored(2);
    assert!(stored.longest <= 4096);
    assert_eq!(stored.chunks, stored.counted);
    assert!(stored.chunks > 0);
}

/// Inner nodes hold keys alone; so many that these split, and so few again that they merge.
#[test]
fn the_longest_keys_in_great_number() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let mut owner = owner(&"o".repeat(64));
    owner.max_keys = u32::MAX;
    let draft = event(EventKind::OwnerCreated, Some(owner.id), None);
    commit(&store, Change::of(Write::CreateOwner(Box::new(owner.clone())), draft)).unwrap();
    let named = |number: u128| {
        let mut key = key(owner.id.as_str(), id(number));
        key.name = Some(KeyName::new("n".repeat(KeyName::MAX_LEN)).unwrap());
        key
    };
    let numbers: Vec<u128> = (0..5_000).collect();
    for numbers in numbers.chunks(500) {
        let batch: Vec<Change> = numbers.iter().map(|n| create_key(named(*n))).collect();
        assert!(store.commit(&batch).unwrap().iter().all(Result::is_ok));
    }
    expect_no_blobs(&fixture.generation(1));
    for numbers in numbers[100..].chunks(500) {
        let batch: Vec<Change> = numbers.iter().map(|n| remove_key(&named(*n))).collect();
        assert!(store.commit(&batch).unwrap().iter().all(Result::is_ok));
    }
    expect_no_blobs(&fixture.generation(1));
    let mut seen = 0;
    store.scan(&mut |_| seen += 1).unwrap();
    assert_eq!(seen, 101);
}

#[test]
fn so_many_keys_are_expected_as_there_are_or_as_fit() {
    let fixture = Fixture::new();
    let store = fixture.store();
    commit(&store, create_owner("a")).unwrap();
    assert_eq!(store.expected_keys(), 0);
    let keys: Vec<KeyRecord> = (0..20).map(|number| key("a", id(number))).collect();
    let both = |key: &KeyRecord| {
        let replaced = next(key, key.clone());
        [create_key(key.clone()), replace_key(replaced)]
    };
    let batch: Vec<Change> = keys.iter().flat_map(both).collect();
    assert!(store.commit(&batch).unwrap().iter().all(Result::is_ok));
    assert_eq!(store.expected_keys(), 20);
    for key in &keys[..5] {
        commit(&store, remove_key(&next(key, key.clone()))).unwrap();
    }
    assert_eq!(store.expected_keys(), 15);
    store.close().unwrap();
    fixture.raw(1, |db| {
        let metadata = db.open_tree("metadata").unwrap();
        metadata.insert("keys", &(1_u64 << 60).to_be_bytes()).unwrap();
    });
    let store = fixture.store();
    let expected = store.expected_keys();
    let length = fs::metadata(fixture.generation(1).join("db")).unwrap().len();
    assert!((15..=length).contains(&expected), "{expected} in {length} bytes");
}
