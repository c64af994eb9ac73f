//! A sync that fails, which only the inside can bring about.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::fault::Fault;
use super::{Sled, SledOptions};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Backend, BackendErrorKind, Change, Opened, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Incarnation, OwnerId, Version};
use crate::key::{
    Lifetime, Limits, OwnerRecord, PrefixTable, SettingNames, Settings, StoreMetadata, StoreRules,
};
use crate::permission::Access;

fn open(dir: &Path) -> Sled {
    let (store, opened) = Sled::open_or_create(dir, SledOptions::default()).unwrap();
    if opened == Opened::Existing {
        return store;
    }
    let metadata = StoreMetadata {
        version: Version::FIRST,
        rules: StoreRules::default(),
        prefixes: PrefixTable::default(),
        peppers: Vec::new(),
        recovery_keys: Vec::new(),
        tokens_valid_from: None,
    };
    let create = Write::CreateMetadata(Box::new(metadata));
    store.commit(&[Change::of(create, event(EventKind::StoreCreated, None))]).unwrap();
    store
}

fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

fn create(id: &str) -> Change {
    let (id, actor, at) = (owner(id), Actor::new("tester").unwrap(), Timestamp::MIN);
    let record = OwnerRecord {
        sweeps: None,
        tags: crate::key::Tags::default(),
        id,
        version: Version::FIRST,
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        fixed_defaults: SettingNames::default(),
        suspended: None,
        max_access: Access::Full,
        limits: Limits::default(),
        max_keys: 1,
        lifetime: Lifetime::NONE,
        tokens_valid_from: None,
        created_at: at,
        created_by: actor,
        updated_at: at,
    };
    Change::of(Write::CreateOwner(Box::new(record)), event(EventKind::OwnerCreated, Some(id)))
}

fn event(kind: EventKind, owner: Option<OwnerId>) -> EventDraft {
    EventDraft {
        at: Timestamp::MIN,
        kind,
        owner,
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: Authority::new(Role::Administrator, Actor::new("tester").unwrap()),
    }
}

fn marker(dir: &Path) -> String {
    fs::read_to_string(dir.join("keyhasp")).unwrap()
}

fn is_noted(dir: &Path) -> bool {
    dir.join("keyhasp.unsynced").exists()
}

fn fail_next_sync(store: &Sled) {
    store.replace_next_sync(|| Err(Fault::new(BackendErrorKind::Io, "told to fail")));
}

#[test]
fn after_a_failed_sync_nothing_is_done_before_a_recovery() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("db");
    let store = open(&dir);
    store.commit(&[create("a")]).unwrap();
    assert!(!is_noted(&dir));

    fail_next_sync(&store);
    let error = store.commit(&[create("b")]).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
    assert!(is_noted(&dir));
    let answers = [
        store.commit(&[create("c")]).map(drop),
        store.commit(&[]).map(drop),
        store.owner(&owner("a")).map(drop),
        store.last_event().map(drop),
        store.scan(&mut |_| ()).map(drop),
        store.prune_events(Timestamp::MAX, 9).map(drop),
        store.metadata().map(drop),
    ];
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Io);
        assert!(error.to_string().contains("recover first"), "{error}");
    }

    // The batch was whole, so that is what the copy holds.
    store.recover().unwrap();
    assert!(!is_noted(&dir));
    assert!(marker(&dir).ends_with("generation 2\n"));
    assert_eq!(store.last_event().unwrap(), 3);
    assert!(store.owner(&owner("b")).unwrap().is_some());
    store.commit(&[create("c")]).unwrap();
    drop(store);
    assert_eq!(open(&dir).last_event().unwrap(), 4);
}

#[test]
fn a_crash_after_a_failed_sync_leaves_word_for_the_next_open() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("db");
    let store = open(&dir);
    fail_next_sync(&store);
    store.commit(&[create("a")]).unwrap_err();
    assert_eq!(store.close().unwrap_err().kind(), BackendErrorKind::OutcomeUnknown);

    // From now on the reads are of a copy that was written again.
    let store = open(&dir);
    assert!(marker(&dir).ends_with("generation 2\n"));
    assert!(!is_noted(&dir));
    assert!(store.owner(&owner("a")).unwrap().is_some());
    drop(store);
    drop(open(&dir));
    assert!(marker(&dir).ends_with("generation 2\n"));
}

#[test]
fn pruning_that_can_not_sync_is_of_unknown_outcome() {
    let temp = TempDir::new().unwrap();
    let store = open(&temp.path().join("db"));
    store.commit(&[create("a"), create("b")]).unwrap();
    fail_next_sync(&store);
    let error = store.prune_events(Timestamp::MAX, 9).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
    store.recover().unwrap();
    assert_eq!(store.prune_events(Timestamp::MAX, 9).unwrap(), 0);
    assert_eq!(store.last_event().unwrap(), 3);
}

#[test]
fn closing_says_what_failed_and_is_closed_all_the_same() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("db");
    let store = open(&dir);
    store.commit(&[create("a")]).unwrap();
    fail_next_sync(&store);
    assert_eq!(store.close().unwrap_err().kind(), BackendErrorKind::Io);
    assert_eq!(store.last_event().unwrap_err().kind(), BackendErrorKind::Closed);
    assert!(is_noted(&dir));
    assert_eq!(open(&dir).last_event().unwrap(), 2);
    assert!(marker(&dir).ends_with("generation 2\n"));
}

/// The commit is in a file that may not be kept.
#[test]
fn a_file_that_goes_during_a_commit_leaves_its_outcome_unknown() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("db");
    let store = open(&dir);
    let (from, to) = (temp.path().join("db.lock"), temp.path().join("elsewhere"));
    store.replace_next_sync(move || Ok(fs::rename(from, to)?));
    let error = store.commit(&[create("a")]).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
    assert!(error.to_string().contains("the lock file"), "{error}");
    assert_eq!(store.recover().unwrap_err().kind(), BackendErrorKind::ForeignWriter);
}

/// `statfs` tells it.
#[cfg(target_os = "linux")]
#[test]
fn a_network_file_system_is_refused_unless_an_option_allows_it() {
    use crate::backend::file_system::injected;
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("db");
    injected::with(0xff53_4d42, || {
        let refusals = [
            Sled::create(&dir, SledOptions::default()).unwrap_err(),
            Sled::open(&dir, SledOptions::default()).unwrap_err(),
            Sled::open_or_create(&dir, SledOptions::default()).unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.kind(), BackendErrorKind::NetworkFileSystem, "{error}");
            assert!(error.to_string().contains("CIFS at /"), "{error}");
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        Sled::create(&dir, SledOptions::default().allow_network_file_system()).unwrap();
    });
}
