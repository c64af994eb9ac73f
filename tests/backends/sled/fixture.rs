//! A database in a directory of its own, and records to put into it.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, Opened, Rejection,
};
use keyhasp::backend::{Write, WriteKey};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use keyhasp::key::{
    DEFAULT_MAX_KEYS, Digest, IssueEpochs, KeyRecord, Lifetime, Limits, OwnerRecord, PepperNumber,
    Prefix, PrefixNumber, PrefixTable, Scheme, SetBy, SettingNames, Settings, StoreMetadata,
    StoreRules, TokenRecord,
};
use keyhasp::permission::Access;
use tempfile::TempDir;

/// A directory that is gone after the test, with a database in it at `db`.
pub(crate) struct Fixture {
    temp: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self { temp: TempDir::new().unwrap() }
    }

    /// With a store, closed again, that holds one owner.
    pub(crate) fn with_owner() -> Self {
        let fixture = Self::new();
        let store = fixture.store();
        commit(&store, create_owner("a")).unwrap();
        store.close().unwrap();
        fixture
    }

    pub(crate) fn root(&self) -> &Path {
        self.temp.path()
    }

    /// The database's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root().join("db")
    }

    pub(crate) fn open(&self) -> Result<Sled, BackendError> {
        Sled::open(self.dir(), options())
    }

    /// Opened, or made without a metadata.
    pub(crate) fn blank(&self) -> Sled {
        Sled::open_or_create(self.dir(), options()).unwrap().0
    }

    /// Opened, and created if it wasn't.
    pub(crate) fn store(&self) -> Sled {
        let (store, opened) = Sled::open_or_create(self.dir(), options()).unwrap();
        if opened == Opened::Created {
            commit(&store, create_store(metadata())).unwrap();
        }
        store
    }

    /// How opening fails.
    pub(crate) fn refusal(&self) -> BackendErrorKind {
        let error = self.open().unwrap_err();
        assert_eq!(error.place(), Some(self.dir().as_path()), "{error}");
        error.kind()
    }

    pub(crate) fn marker(&self) -> String {
        fs::read_to_string(self.dir().join("keyhasp")).unwrap()
    }

    pub(crate) fn set_marker(&self, text: &str) {
        fs::write(self.dir().join("keyhasp"), text).unwrap();
    }

    /// sled's files of a generation.
    pub(crate) fn generation(&self, number: u64) -> PathBuf {
        self.dir().join(format!("sled-{number}"))
    }

    /// What lies in the database's directory.
    pub(crate) fn entries(&self) -> Vec<String> {
        entries(&self.dir())
    }

    /// Counts what is stored.
    pub(crate) fn stored(&self, generation: u64) -> Stored {
        self.raw(generation, |db| {
            let mut stored = Stored { chunks: 0, counted: 0, longest: 0 };
            for name in db.tree_names() {
                for entry in &db.open_tree(&name).unwrap() {
                    let (key, value) = entry.unwrap();
                    stored.longest = stored.longest.max(value.len());
                    match &*name {
                        b"chunks" => stored.chunks += 1,
                        b"metadata" if &*key != b"store" => {}
                        b"metadata" | b"owners" | b"keys" | b"events" => {
                            let count = u16::from_be_bytes([value[1], value[2]]);
                            stored.counted += usize::from(count);
                        }
                        _ => {}
                    }
                }
            }
            stored
        })
    }

    /// Uses sled past the backend.
    pub(crate) fn raw<T>(&self, generation: u64, work: impl FnOnce(&sled::Db) -> T) -> T {
        let config = sled::Config::new().path(self.generation(generation)).flush_every_ms(None);
        let db = config.open().unwrap();
        let done = work(&db);
        db.flush().unwrap();
        drop(db);
        // sled's threads let go of the file in their own time.
        let file = fs::File::open(self.generation(generation).join("db")).unwrap();
        file.lock().unwrap();
        done
    }
}

/// What lies in sled's trees.
pub(crate) struct Stored {
    /// The number of chunks of records.
    pub(crate) chunks: usize,
    /// How many there should be, as the records' first values say.
    pub(crate) counted: usize,
    /// How long the longest value is.
    pub(crate) longest: usize,
}

/// The names in a directory, sorted.
pub(crate) fn entries(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| name(entry).into_string().unwrap()).collect();
    names.sort();
    names
}

/// Nothing here has to outlive a power failure, so syncs are left out where they can be.
pub(crate) fn options() -> SledOptions {
    #[cfg(feature = "testing")]
    return SledOptions::default().sync_off_for_tests();
    #[cfg(not(feature = "testing"))]
    SledOptions::default()
}

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(crate) fn owner_id(text: &str) -> OwnerId {
    OwnerId::new(text).unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor::new("tester").unwrap()
}

pub(crate) fn by_administrator() -> Authority {
    Authority::new(Role::Administrator, actor())
}

pub(crate) fn metadata() -> StoreMetadata {
    StoreMetadata {
        version: Version::FIRST,
        rules: StoreRules::default(),
        prefixes: PrefixTable::default().accepting(&[Prefix::new("acme").unwrap()]).unwrap(),
        peppers: Vec::new(),
        recovery_keys: Vec::new(),
        tokens_valid_from: None,
    }
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
        max_keys: DEFAULT_MAX_KEYS,
        lifetime: Lifetime::NONE,
        tokens_valid_from: None,
        created_at: at(1),
        created_by: actor(),
        updated_at: at(1),
    }
}

pub(crate) fn key(owner: &str, id: u128) -> KeyRecord {
    let (generation, digest) = (Generation::FIRST, digest(id as u8));
    let current =
        TokenRecord { generation, digest, issued_at: at(1), epochs: IssueEpochs::default() };
    KeyRecord {
        access: Access::ReadOnly,
        expiry_by: SetBy::Administrator,
        updated_at: at(2),
        ..KeyRecord::new(KeyId::from_u128(id), owner_id(owner), current, at(1), actor())
    }
}

pub(crate) fn digest(byte: u8) -> Digest {
    let prefix = PrefixNumber::new(0).unwrap();
    Digest::new([byte; 32], Scheme::Blake3Keyed64, PepperNumber::PUBLIC, prefix)
}

pub(crate) fn event(kind: EventKind, owner: Option<OwnerId>, key: Option<KeyId>) -> EventDraft {
    EventDraft {
        at: at(1_000),
        kind,
        owner,
        key,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: by_administrator(),
    }
}

pub(crate) fn create_store(metadata: StoreMetadata) -> Change {
    let draft = event(EventKind::StoreCreated, None, None);
    Change::of(Write::CreateMetadata(Box::new(metadata)), draft)
}

pub(crate) fn create_owner(id: &str) -> Change {
    let draft = event(EventKind::OwnerCreated, Some(owner_id(id)), None);
    Change::of(Write::CreateOwner(Box::new(owner(id))), draft)
}

pub(crate) fn create_key(record: KeyRecord) -> Change {
    let draft = event(EventKind::KeyCreated, Some(record.owner), Some(record.id));
    Change::of(Write::CreateKey(Box::new(WriteKey { record, next_numeric_id: false })), draft)
}

pub(crate) fn replace_key(record: KeyRecord) -> Change {
    let draft = event(EventKind::KeyUpdated, Some(record.owner), Some(record.id));
    Change::of(Write::ReplaceKey(Box::new(record)), draft)
}

pub(crate) fn remove_key(record: &KeyRecord) -> Change {
    let draft = event(EventKind::KeyPurged, Some(record.owner), Some(record.id));
    Change::of(Write::RemoveKey(record.id, record.version), draft)
}

/// Commits one change.
pub(crate) fn commit(store: &dyn Backend, change: Change) -> Result<Applied, Rejection> {
    store.commit(&[change]).unwrap().remove(0)
}
