//! Small things that most of these tests need.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, Change, EventFilter, EventQuery, KeyFilter,
    KeyPageQuery, Opened, Operation, OwnerPageQuery, StateSet, Write, WriteKey,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::id::{Incarnation, KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{
    Digest, IssueEpochs, KeyRecord, Lifetime, Limits, OwnerRecord, PepperNumber, PrefixNumber,
    PrefixTable, Scheme, SettingNames, Settings, StoreMetadata, StoreRules, TokenRecord,
};
use keyhasp::permission::Access;

/// As long as only a defect takes.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Without waiting for the disk, where a test doesn't ask for it.
pub(crate) fn quick() -> SqliteOptions {
    without_sync(SqliteOptions::exclusive())
}

pub(crate) fn shared() -> SqliteOptions {
    without_sync(SqliteOptions::shared(SqliteOptions::MIN_STALENESS).unwrap())
}

fn without_sync(options: SqliteOptions) -> SqliteOptions {
    #[cfg(feature = "testing")]
    let options = options.sync_off_for_tests();
    options
}

pub(crate) fn open(path: &Path, options: SqliteOptions) -> Sqlite {
    let (sqlite, opened) = Sqlite::open_or_create(path, options).unwrap();
    if opened == Opened::Created {
        commit(&sqlite, create_store(metadata()));
    }
    sqlite
}

/// The error of an open that is refused.
pub(crate) fn refused(path: impl AsRef<Path>, options: SqliteOptions) -> BackendError {
    Sqlite::open(path, options).map(|_| "opened").unwrap_err()
}

/// The journal of a transaction before which there were so many pages of 4,096 bytes.
pub(crate) fn journal(pages_before: u32) -> Vec<u8> {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0, 0x1234_5678, pages_before, 512, 4_096] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    journal
}

/// The files of a directory with their contents.
pub(crate) fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap);
    files
        .filter(|file| file.path().is_file())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect()
}

pub(crate) fn metadata() -> StoreMetadata {
    StoreMetadata {
        version: Version::FIRST,
        rules: StoreRules::default(),
        prefixes: PrefixTable::default(),
        peppers: Vec::new(),
        recovery_keys: Vec::new(),
        tokens_valid_from: None,
    }
}

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor::new("tester").unwrap()
}

pub(crate) fn by_administrator() -> Authority {
    Authority::new(Role::Administrator, actor())
}

pub(crate) fn owner_id(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

pub(crate) fn owner(id: &str) -> OwnerRecord {
    OwnerRecord {
        sweeps: None,
        tags: keyhasp::key::Tags::default(),
        id: owner_id(id),
        version: Version::FIRST,
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        fixed_defaults: SettingNames::default(),
        suspended: None,
        max_access: Access::Full,
        limits: Limits::default(),
        max_keys: 1_000,
        lifetime: Lifetime::NONE,
        tokens_valid_from: None,
        created_at: at(1),
        created_by: actor(),
        updated_at: at(1),
    }
}

pub(crate) fn key(number: u128, owner: &str) -> KeyRecord {
    let prefix = PrefixNumber::new(0).unwrap();
    let digest = Digest::new([7; 32], Scheme::Blake3Keyed64, PepperNumber::PUBLIC, prefix);
    let generation = keyhasp::id::Generation::FIRST;
    let current =
        TokenRecord { generation, digest, issued_at: at(1), epochs: IssueEpochs::default() };
    KeyRecord::new(KeyId::from_u128(number), owner_id(owner), current, at(1), actor())
}

pub(crate) fn event(kind: EventKind) -> EventDraft {
    EventDraft {
        at: at(1),
        kind,
        owner: None,
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: by_administrator(),
    }
}

pub(crate) fn create_store(metadata: StoreMetadata) -> Change {
    Change::of(Write::CreateMetadata(Box::new(metadata)), event(EventKind::StoreCreated))
}

pub(crate) fn create_owner(id: &str) -> Change {
    Change::of(Write::CreateOwner(Box::new(owner(id))), event(EventKind::OwnerCreated))
}

pub(crate) fn create_key(record: KeyRecord) -> Change {
    let event = event(EventKind::KeyCreated);
    let write = WriteKey { record, next_numeric_id: false };
    let operations = vec![Operation { write: Write::CreateKey(Box::new(write)), event }];
    Change { operations, ..Change::default() }
}

pub(crate) fn commit(sqlite: &Sqlite, change: Change) {
    sqlite.commit(&[change]).unwrap()[0].as_ref().unwrap();
}

/// One call of each kind that reaches the file, by name, with the kind of error it ends in.
pub(crate) fn every_call(sqlite: &Sqlite) -> Vec<(&'static str, Result<(), BackendError>)> {
    let owner = owner_id("acme");
    let filter = KeyFilter { owner: Some(owner), ..KeyFilter::new(StateSet::ALL, at(1)) };
    let keys =
        KeyPageQuery { filter: filter.clone(), before: None, after: None, limit: 9, examine: 9 };
    let owners = OwnerPageQuery::all(9);
    let events =
        EventQuery { after: 0, before: None, filter: EventFilter::default(), limit: 9, examine: 9 };
    let id = KeyId::from_u128(1);
    vec![
        ("metadata", sqlite.metadata().map(drop)),
        ("scan", sqlite.scan(&mut drop).map(drop)),
        ("scan_owner", sqlite.scan_owner(&owner, &mut drop)),
        ("owner", sqlite.owner(&owner).map(drop)),
        ("key", sqlite.key(id).map(drop)),
        ("numeric id", sqlite.key_by_numeric_id(NumericId::new(1).unwrap()).map(drop)),
        ("commit", sqlite.commit(&[create_owner("another")]).map(drop)),
        ("page_keys", sqlite.page_keys(&keys).map(drop)),
        ("count_keys", sqlite.count_keys(&filter).map(drop)),
        ("page_owners", sqlite.page_owners(&owners).map(drop)),
        ("events", sqlite.events(&events).map(drop)),
        ("last_event", sqlite.last_event().map(drop)),
        ("prune_events", sqlite.prune_events(at(0), 9).map(drop)),
        ("recover", sqlite.recover()),
    ]
}

/// Every call ends in this kind of error.
pub(crate) fn assert_all(sqlite: &Sqlite, kind: BackendErrorKind) {
    for (call, result) in every_call(sqlite) {
        assert_eq!(result.map_err(|error| error.kind()), Err(kind), "{call}");
    }
}

/// No call fails.
pub(crate) fn assert_none(sqlite: &Sqlite) {
    for (call, result) in every_call(sqlite) {
        assert!(result.is_ok(), "{call}: {result:?}");
    }
}
