//! Every kind of error, provoked with secrets at hand: tokens in the files, in the cells, in the
//! fields of what is asked.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{BackendError, BackendErrorKind, Memory};
use keyhasp::store::{ChangedKey, IndexLimit};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, IdempotencyKey, Issued, KeyId, KeyStore,
    ListKeys, NumericId, NumericIdChoice, OwnerId, Peppers, RecoveryKeys, Rotate, Store,
    StoreRules,
};
use rusqlite::Connection;

use crate::secrets::story::{World, key_bytes};

/// All kinds that a store can answer with, read from the crate's own lists, so that none is forgotten.
pub(crate) fn all() -> BTreeSet<String> {
    let errors = variants(include_str!("../../../src/store/types/error.rs"), "Error");
    let of_backends = variants(include_str!("../../../src/backend/error.rs"), "BackendErrorKind");
    let of_backends = of_backends.into_iter().filter_map(|kind| match kind {
        // Each has a variant of its own.
        "Closed" => None,
        "OutcomeUnknown" => Some("OutcomeUnknown OutcomeUnknown".to_owned()),
        kind => Some(format!("Backend {kind}")),
    });
    let errors = errors.into_iter().filter(|kind| !["Backend", "OutcomeUnknown"].contains(kind));
    of_backends.chain(errors.map(str::to_owned)).collect()
}

/// The names of an enumeration's variants.
fn variants<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let (_, rest) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    variants.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect()
}

fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

impl World {
    /// What the story leaves out.
    pub(crate) fn provoke(&mut self) {
        self.last_key_and_last_number();
        self.once_and_backup();
        for kind in [
            // No test can bring about these two.
            BackendErrorKind::EngineUnfit,
            BackendErrorKind::NetworkFileSystem,
            BackendErrorKind::Full,
            BackendErrorKind::Io,
            BackendErrorKind::ReadOnly,
            BackendErrorKind::TimedOut,
        ] {
            self.failing(Some(kind));
        }
        self.failing(None);
        // No test can fill an index; the error says a number alone.
        self.ear.refused(Err::<(), _>(Error::IndexFull(IndexLimit::Tokens(1))));
    }

    fn last_key_and_last_number(&mut self) {
        let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
        let store: Arc<dyn KeyStore> =
            Arc::new(self.builder().rules(rules).open(Memory::new()).unwrap());
        let admin = AdminKeys::new(store, "root").unwrap();
        let first = admin.create_owner(&owner("last"), CreateOwner::with_key(full())).unwrap();
        let first = self.ear.issued(first.first_key.unwrap());
        self.ear.refused(admin.revoke(first.key.id));
        let greatest = NumericIdChoice::Given(NumericId::new(NumericId::MAX).unwrap());
        let greatest = admin.create(&owner("last"), full().numeric_id(greatest)).unwrap();
        self.ear.issued(greatest);
        let next = full().numeric_id(NumericIdChoice::Next);
        self.ear.refused(admin.create(&owner("last"), next));
    }

    fn once_and_backup(&mut self) {
        let store = Arc::new(self.builder().open(Memory::new()).unwrap());
        self.ear.refused(store.backup("nowhere", |_| ()));
        let admin = AdminKeys::new(store, "root").unwrap();
        admin.create_owner(&owner("once"), CreateOwner::without_key()).unwrap();
        let key = IdempotencyKey::new("once").unwrap();
        let once = admin.create_once(&owner("once"), full(), &key).unwrap();
        self.ear.debug(&once);
        self.ear.token(&once.token.unwrap());
        self.ear.refused(admin.create_once(&owner("once"), full().name("other"), &key));
    }

    /// A commit that fails with this kind, or after it took effect.
    fn failing(&mut self, kind: Option<BackendErrorKind>) {
        let backend = Arc::new(Failing::new(Memory::new()));
        let store: Arc<dyn KeyStore> =
            Arc::new(self.builder().open_on(Arc::clone(&backend) as _).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        let first = admin.create_owner(&owner("failing"), CreateOwner::with_key(full())).unwrap();
        let first: Issued = self.ear.issued(first.first_key.unwrap());
        let moment = kind.map_or(Moment::After, Moment::Before);
        backend.inject(Fault { target: Target::Commits, nth: 1, moment, lasting: true });
        self.ear.refused(admin.rotate(first.key.id, Rotate::new()));
        self.verify(&store, first.token.expose());
        self.ear.debug(&store.health());
        self.ear.debug(&backend);
        backend.heal();
    }

    /// Files that are no databases of ours, or damaged ones, with a token wherever it fits.
    pub(crate) fn bad_files(&mut self, dir: &Path) {
        let token = self.ear.tokens[0].clone();
        let path = |name: &str| dir.join(name);
        fs::write(path("text"), token.repeat(20)).unwrap();
        let foreign = Connection::open(path("foreign")).unwrap();
        foreign.execute_batch(&format!("CREATE TABLE \"{token}\" (\"{token}\")")).unwrap();
        for (name, version) in [("newer", 99), ("unreleased", 1)] {
            self.open(&path(name)).unwrap();
            let other = Connection::open(path(name)).unwrap();
            other.pragma_update(None, "user_version", version).unwrap();
        }
        for (name, kind) in [
            ("text", BackendErrorKind::NotADatabase),
            ("foreign", BackendErrorKind::Foreign),
            ("newer", BackendErrorKind::Newer),
            ("unreleased", BackendErrorKind::Unreleased),
        ] {
            let refused = self.refused_open(&path(name));
            assert!(matches!(refused, Error::Backend(error) if error.kind() == kind), "{name}");
        }
        let columns = [
            ("keys", "access"),
            ("keys", "owner"),
            ("keys", "kind"),
            ("owners", "max_access"),
            ("prefixes", "prefix"),
        ];
        for (at, (table, column)) in columns.into_iter().enumerate() {
            let path = path(&format!("damaged-{at}"));
            let store = self.open(&path).unwrap();
            let admin = AdminKeys::new(Arc::new(store), "root").unwrap();
            let request = CreateOwner::with_key(full());
            let first = admin.create_owner(&owner("damaged"), request).unwrap().first_key;
            let id = self.ear.issued(first.unwrap()).key.id;
            drop(admin);
            let raw = Connection::open(&path).unwrap();
            raw.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
            let sql = format!("UPDATE {table} SET {column} = ?||rowid");
            let sql = if table == "prefixes" { sql } else { sql.replace("||rowid", "") };
            raw.execute(&sql, [&token]).unwrap();
            drop(raw);
            let refused = match table {
                "prefixes" => self.refused_open(&path),
                _ => self.refused_of_damaged(&path, table, id),
            };
            let corrupt = BackendErrorKind::Corrupt;
            let is_it = matches!(&refused, Error::Backend(error) if error.kind() == corrupt);
            assert!(is_it, "{table}.{column}: {refused:?}");
        }
    }

    /// Files that aren't what they were, with a token wherever it fits.
    pub(crate) fn changed_files(&mut self, dir: &Path) {
        let token = self.ear.tokens[0].clone();
        let path = dir.join("keys.db");
        let log = dir.join("keys.db-wal");
        let refused = |world: &mut Self, outcome: Result<Sqlite, BackendError>, kind| {
            let told = world.ear.refused(outcome.map_err(Error::from));
            assert!(matches!(&told, Error::Backend(told) if told.kind() == kind), "{told:?}");
        };
        let exclusive = SqliteOptions::exclusive;
        refused(self, Sqlite::open(&path, exclusive()), BackendErrorKind::Missing);
        fs::write(&log, token.repeat(99)).unwrap();
        refused(self, Sqlite::open(&path, exclusive()), BackendErrorKind::OrphanedLog);
        fs::remove_file(&log).unwrap();

        let store = Arc::new(self.open(&path).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        let first = admin.create_owner(&owner("first"), CreateOwner::with_key(full())).unwrap();
        self.ear.issued(first.first_key.unwrap());
        let earlier = [&path, &log].map(|file| fs::read(file).unwrap());
        let second = admin.create_owner(&owner("second"), CreateOwner::with_key(full())).unwrap();
        self.ear.issued(second.first_key.unwrap());
        let later = fs::read(&log).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute("UPDATE keys SET name = ? WHERE owner = 'first'", [&token]).unwrap();
        drop(other);
        let told = self.ear.refused(store.check_files());
        let kind = BackendErrorKind::ForeignWriter;
        assert!(matches!(&told, Error::Backend(told) if told.kind() == kind), "{told:?}");
        self.ear.debug(&store.health());
        drop((store, admin));

        let too_fresh = Sqlite::open_read_only(&path, Duration::ZERO);
        refused(self, too_fresh, BackendErrorKind::Invalid);
        for (file, bytes) in [&path, &log].into_iter().zip(earlier) {
            fs::write(file, bytes).unwrap();
        }
        refused(self, Sqlite::open(&path, exclusive()), BackendErrorKind::EarlierState);
        drop(self.open(&dir.join("other.db")).unwrap());
        let created = Sqlite::create(dir.join("other.db"), exclusive());
        refused(self, created, BackendErrorKind::AlreadyExists);
        fs::write(dir.join("other.db-wal"), later).unwrap();
        let other = Sqlite::open(dir.join("other.db"), exclusive());
        refused(self, other, BackendErrorKind::ForeignLog);
    }

    fn open(&mut self, path: &Path) -> Result<Store, Error> {
        self.builder().open(Sqlite::open_or_create(path, SqliteOptions::exclusive())?.0)
    }

    /// Returns the error about a damaged row of a key or its owner.
    fn refused_of_damaged(&mut self, path: &Path, table: &str, id: KeyId) -> Error {
        let store = self.open(path).unwrap();
        self.ear.debug(&store.health());
        let admin = AdminKeys::new(Arc::new(store), "root").unwrap();
        self.ear.debug(&admin.list(&ListKeys::new()).unwrap());
        let refused = match table {
            "owners" => self.ear.refused(admin.owner(&owner("damaged"))),
            _ => self.ear.refused(admin.get(id)),
        };
        let ended = admin.revoke(id).unwrap();
        self.ear.debug(&ended);
        assert!(matches!(ended, ChangedKey::Damaged(_)), "{ended:?}");
        self.ear.debug(&admin.list(&ListKeys::new()).unwrap());
        refused
    }

    fn refused_open(&mut self, path: &Path) -> Error {
        let told = self.open(path);
        self.ear.refused(told)
    }
}

/// What a panic says of a value that holds a secret, in a program that takes a success for a
/// failure.
#[test]
fn no_panic_message_shows_a_secret() {
    fn message(panics: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        payload.downcast_ref::<String>().unwrap().clone()
    }
    let mut world = World::new();
    let builder = world.builder();
    let store: Arc<dyn KeyStore> = Arc::new(builder.open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let request = || CreateOwner::with_key(full().recoverable());
    let created = admin.create_owner(&owner("first"), request()).unwrap();
    let first = world.ear.issued(created.first_key.unwrap());
    let (id, token) = (first.key.id, first.token.expose().to_owned());
    let mut said = vec![
        message(|| drop(admin.create_owner(&owner("a"), request()).unwrap_err())),
        message(|| drop(admin.create(&owner("a"), full()).unwrap_err())),
        message(|| drop(admin.rotate(id, Rotate::new()).unwrap_err())),
        message(|| drop(admin.reveal_token(id).unwrap_err())),
        message(|| drop(admin.reveal_tokens(&ListKeys::new()).unwrap_err())),
        message(|| drop(admin.revoke_all(&owner("a"), Some(full())).unwrap_err())),
        message(|| _ = store.verify(token.as_bytes()).unwrap_err()),
        message(|| _ = store.verify(&token.as_bytes()[1..]).unwrap()),
        message(|| drop(admin.list(&ListKeys::new().cursor(&token)).unwrap())),
        message(|| drop(Peppers::new(1, key_bytes(1)).unwrap_err())),
        message(|| drop(Peppers::new(0, key_bytes(1)).unwrap())),
        message(|| drop(RecoveryKeys::new(1, key_bytes(3)).unwrap_err())),
        message(|| drop(RecoveryKeys::new(0, key_bytes(3)).unwrap())),
    ];
    let builder = world.builder();
    said.push(message(|| drop(builder.open(Memory::new()).unwrap_err())));
    // Seen again, so that its secret is known.
    let opened = admin.reveal_tokens(&ListKeys::new()).unwrap();
    opened.items.iter().flat_map(|opened| &opened.token).for_each(|token| world.ear.token(token));
    world.ear.texts.extend(said);
    crate::secrets::check_panics(&world.ear);
}
