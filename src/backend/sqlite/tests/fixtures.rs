//! Small databases to look into.

use rusqlite::config::DbConfig;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::authority::{Actor, Authority, Role};
use crate::backend::sqlite::{Sqlite, SqliteOptions};
use crate::backend::{Backend, Change, Operation, Write, WriteKey};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use crate::key::{
    DEFAULT_MAX_KEYS, Digest, IssueEpochs, KeyRecord, Lifetime, Limit, Limits, OwnerRecord,
    PepperNumber, Period, PrefixNumber, PrefixTable, PreviousToken, Quota, Rate, Scheme, SetBy,
    SettingNames, Settings, StoreMetadata, StoreRules, Switch, TokenRecord, VersionedQuota,
};
use crate::permission::Access;

/// A database in a directory of its own.
pub(super) struct Fixture {
    pub(super) sqlite: Sqlite,
    pub(super) directory: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(SqliteOptions::exclusive().sync_off_for_tests())
    }

    pub(super) fn with(options: SqliteOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open_or_create(directory.path().join("keys.db"), options).unwrap().0;
        let fixture = Self { sqlite, directory };
        let create = Write::CreateMetadata(Box::new(metadata()));
        fixture.commit(Change::of(create, event(EventKind::StoreCreated)));
        fixture
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("keys.db")
    }

    /// Another connection to the file, past all that the backend does. It fires no triggers: what it
    /// writes is found as damage, not as another program's edit.
    pub(super) fn raw(&self) -> rusqlite::Connection {
        let raw = rusqlite::Connection::open(self.path()).unwrap();
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        raw
    }

    pub(super) fn key(&self, number: u128) -> KeyRecord {
        self.sqlite.key(KeyId::from_u128(number)).unwrap().unwrap()
    }

    pub(super) fn commit(&self, change: Change) {
        self.sqlite.commit(&[change]).unwrap()[0].as_ref().unwrap();
    }

    /// An owner `acme` with a key for each of these numbers.
    pub(super) fn with_keys(numbers: impl IntoIterator<Item = u128>) -> Self {
        let fixture = Self::new();
        fixture.commit(create_owner("acme"));
        let mut change = Change::default();
        change.operations.extend(numbers.into_iter().map(|n| create_key(&key(n, "acme"))));
        fixture.commit(change);
        fixture
    }
}

pub(super) fn metadata() -> StoreMetadata {
    StoreMetadata {
        version: Version::FIRST,
        rules: StoreRules::default(),
        prefixes: PrefixTable::default(),
        peppers: Vec::new(),
        recovery_keys: Vec::new(),
        tokens_valid_from: None,
    }
}

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(super) fn actor() -> Actor {
    Actor::new("tester").unwrap()
}

pub(super) fn by_administrator() -> Authority {
    Authority::new(Role::Administrator, actor())
}

pub(super) fn switch() -> Option<Switch> {
    Some(Switch::new(at(7), &by_administrator()))
}

pub(super) fn owner_id(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

/// Each limit, the quota with its refill.
pub(super) fn limits() -> Limits {
    fn set<T>(value: T) -> Option<Limit<T>> {
        Some(Limit { value, by: SetBy::Administrator })
    }
    let quota = Quota::each(1_000, Period::Week).unwrap();
    Limits {
        not_before: set(at(3)),
        networks: set("192.0.2.0/24 2001:db8::/32".parse().unwrap()),
        rate: set(Rate::new(10, Duration::from_secs(1)).unwrap()),
        quota: set(VersionedQuota { quota, quota_version: Version::FIRST }),
    }
}

pub(super) fn owner(id: &str) -> OwnerRecord {
    OwnerRecord {
        sweeps: None,
        tags: crate::key::Tags::default(),
        id: owner_id(id),
        version: Version::FIRST,
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        fixed_defaults: SettingNames::default(),
        suspended: None,
        max_access: Access::Full,
        limits: Limits::default(),
        max_keys: DEFAULT_MAX_KEYS * 100,
        lifetime: Lifetime::NONE,
        tokens_valid_from: None,
        created_at: at(1),
        created_by: actor(),
        updated_at: at(1),
    }
}

pub(super) fn token(generation: u32) -> TokenRecord {
    let digest = Digest::new(
        [generation.to_le_bytes()[0]; 32],
        Scheme::Blake3Keyed64,
        PepperNumber::PUBLIC,
        PrefixNumber::new(0).unwrap(),
    );
    TokenRecord {
        generation: Generation::new(generation).unwrap(),
        digest,
        issued_at: at(1),
        epochs: IssueEpochs::default(),
    }
}

pub(super) fn previous(generation: u32) -> PreviousToken {
    PreviousToken { token: token(generation), since: at(1), ends_at: at(9) }
}

pub(super) fn key(number: u128, owner: &str) -> KeyRecord {
    KeyRecord::new(KeyId::from_u128(number), owner_id(owner), token(1), at(1), actor())
}

pub(super) fn event(kind: EventKind) -> EventDraft {
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

pub(super) fn create_owner(id: &str) -> Change {
    Change::of(Write::CreateOwner(Box::new(owner(id))), event(EventKind::OwnerCreated))
}

pub(super) fn create_key(key: &KeyRecord) -> Operation {
    let write = WriteKey { record: key.clone(), next_numeric_id: false };
    let event =
        EventDraft { owner: Some(key.owner), key: Some(key.id), ..event(EventKind::KeyCreated) };
    Operation { write: Write::CreateKey(Box::new(write)), event }
}

/// The same key one version on.
pub(super) fn replace(key: &KeyRecord) -> Change {
    let key = KeyRecord { version: key.version.next(), ..key.clone() };
    Change::of(Write::ReplaceKey(Box::new(key)), event(EventKind::KeyUpdated))
}
