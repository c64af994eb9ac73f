//! Damaged rows as a `Store` meets them on both engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, DamagedRecord};
use keyhasp::store::FeedItem;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, EventKind, Issued, KeyId, ListEvents,
    ListKeys, ManualClock, OwnerKeys, RejectReason, VerifyError,
};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::world::{Opened, Token, await_unlocked, open_on};
use crate::common::{clock, owner};

const REVOKED: VerifyError = VerifyError::Rejected(RejectReason::Revoked);

/// The way to open a database of one engine, and to read and change its rows from outside.
struct Engine {
    name: &'static str,
    open: fn(&Path) -> Arc<dyn Backend>,
    /// Shows the whole stored row of a key.
    key_row: fn(&Path, KeyId) -> Vec<Value>,
    damage_key: fn(&Path, KeyId),
    damage_event: fn(&Path, u64),
}

const ENGINES: [Engine; 2] = [
    Engine {
        name: "sqlite",
        open: |path| Arc::new(Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0),
        key_row: |path, id| {
            let raw = Connection::open(path).unwrap();
            let mut rows = raw.prepare("SELECT * FROM keys WHERE id = ?").unwrap();
            let columns = rows.column_count();
            let all = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at)).collect();
            rows.query_row([id.to_bytes()], all).unwrap()
        },
        damage_key: |path, id| {
            let sql = "UPDATE keys SET access = 'read_only' WHERE id = ?";
            assert_eq!(Connection::open(path).unwrap().execute(sql, [id.to_bytes()]), Ok(1));
        },
        damage_event: |path, number| {
            let sql = "UPDATE events SET actor = 'canary' WHERE sequence = ?";
            let number = i64::try_from(number).unwrap();
            assert_eq!(Connection::open(path).unwrap().execute(sql, [number]), Ok(1));
        },
    },
    Engine {
        name: "sled",
        open: |path| {
            let options = SledOptions::default().sync_off_for_tests();
            Arc::new(Sled::open_or_create(path, options).unwrap().0)
        },
        key_row: |path, id| {
            let row = in_sled(path, "keys", &sled_key(id), |value| value.to_vec());
            vec![Value::Blob(row)]
        },
        damage_key: |path, id| in_sled(path, "keys", &sled_key(id), flip_last),
        damage_event: |path, number| in_sled(path, "events", &number.to_be_bytes(), flip_last),
    },
];

/// Keys lie in the order of their inverted ids.
fn sled_key(id: KeyId) -> [u8; 16] {
    id.to_bytes().map(|byte| !byte)
}

fn flip_last(value: &mut [u8]) {
    *value.last_mut().unwrap() ^= 1;
}

/// Reads or changes one stored value.
fn in_sled<T>(path: &Path, tree: &str, key: &[u8], act: impl FnOnce(&mut [u8]) -> T) -> T {
    let db = ::sled::open(path.join("sled-1")).unwrap();
    let tree = db.open_tree(tree).unwrap();
    let before = tree.get(key).unwrap().unwrap();
    let mut value = before.to_vec();
    let answer = act(&mut value);
    if before != value {
        tree.insert(key, value).unwrap();
        db.flush().unwrap();
    }
    drop((tree, db));
    await_unlocked(path);
    answer
}

/// A closed database of an owner with a line of keys, each created with the one before, and one key
/// beside them.
struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
    line: Vec<Token>,
    stranger: Token,
}

impl Engine {
    fn bench(&self) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let clock = clock();
        let opened = open_on((self.open)(&path), &clock).unwrap();
        opened.admin.create_owner(&owner("acme"), CreateOwner::without_key()).unwrap();
        let token =
            |issued: Issued| Token { key: issued.key.id, text: issued.token.expose().into() };
        let full = || CreateKey::new(Access::Full);
        let mut line = vec![token(opened.admin.create(&owner("acme"), full()).unwrap())];
        for last in 0..3 {
            line.push(token(opened.acting(&line[last]).create(full()).unwrap()));
        }
        let stranger = token(opened.admin.create(&owner("acme"), full()).unwrap());
        opened.store.close().unwrap();
        drop(opened);
        self.closed(&path);
        Bench { _dir: dir, path, clock, line, stranger }
    }

    fn open(&self, bench: &Bench) -> Opened {
        open_on((self.open)(&bench.path), &bench.clock).unwrap()
    }

    fn close(&self, bench: &Bench, opened: Opened) {
        opened.store.close().unwrap();
        drop(opened);
        self.closed(&bench.path);
    }

    fn closed(&self, path: &Path) {
        if self.name == "sled" {
            await_unlocked(path);
        }
    }
}

#[test]
fn lists_and_health_name_a_damaged_key() {
    for engine in ENGINES {
        let (name, bench) = (engine.name, engine.bench());
        let damaged = bench.line[1].key;
        (engine.damage_key)(&bench.path, damaged);
        let opened = engine.open(&bench);
        let page = opened.admin.list(&ListKeys::new()).unwrap();
        let places: Vec<_> = page.damaged.iter().map(|entry| entry.key).collect();
        assert_eq!(places, [Some(damaged)], "{name}");
        assert_eq!(page.items.len(), 4, "{name}");
        assert!(page.items.iter().all(|key| key.id != damaged), "{name}");
        let health = opened.store.health().damaged;
        assert_eq!(health.records, 1, "{name}");
        assert_eq!(health.places[0].record, DamagedRecord::Key(damaged), "{name}");
        for token in bench.line.iter().chain([&bench.stranger]) {
            assert_eq!(opened.answer(token).is_ok(), token.key != damaged, "{name}");
        }
    }
}

#[test]
fn feeds_and_pages_of_events_step_over_a_damaged_event_and_say_its_number() {
    for engine in ENGINES {
        let (name, bench) = (engine.name, engine.bench());
        (engine.damage_event)(&bench.path, 3);
        let opened = engine.open(&bench);
        let page = opened.admin.events(&ListEvents::new()).unwrap();
        assert_eq!(page.damaged, [3], "{name}");
        let numbers: Vec<_> = page.items.iter().map(|event| event.sequence).collect();
        let last = *numbers.last().unwrap();
        let whole: Vec<_> = (1..=last).filter(|number| *number != 3).collect();
        assert_eq!(numbers, whole, "{name}");
        let mut feed = opened.admin.subscribe(0);
        let (mut told, mut damaged) = (Vec::new(), Vec::new());
        while told.last() != Some(&last) {
            match feed.next(Duration::ZERO).unwrap() {
                FeedItem::Events(events) => told.extend(events.iter().map(|event| event.sequence)),
                FeedItem::Damaged { number } => {
                    assert_eq!(told, [1, 2], "{name}");
                    damaged.push(number);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!((told, damaged), (whole, vec![3]), "{name}");
    }
}

type Ending = fn(&AdminKeys, KeyId) -> Result<(), Error>;

const ENDINGS: [(&str, Ending); 2] = [
    ("block", |admin, id| admin.block(id).map(drop)),
    ("revoke", |admin, id| admin.revoke(id).map(drop)),
];

#[test]
fn the_damaged_bytes_stay_as_they_are() {
    for engine in ENGINES {
        for (call, end) in ENDINGS {
            let what = format!("{call} on {}", engine.name);
            let bench = engine.bench();
            let id = bench.line[1].key;
            let whole = (engine.key_row)(&bench.path, id);
            (engine.damage_key)(&bench.path, id);
            let before = (engine.key_row)(&bench.path, id);
            assert_ne!(whole, before, "{what}");
            let opened = engine.open(&bench);
            end(&opened.admin, id).unwrap();
            engine.close(&bench, opened);
            assert_eq!((engine.key_row)(&bench.path, id), before, "{what}");
            // Nor does opening it again, or the last change of all, touch them.
            let opened = engine.open(&bench);
            opened.admin.revoke(id).unwrap();
            engine.close(&bench, opened);
            assert_eq!((engine.key_row)(&bench.path, id), before, "{what}, and revoked");
        }
    }
}

/// A damaged descendant is revoked too, and so are those that it created.
#[test]
fn a_key_takes_its_damaged_descendants_along_and_theirs() {
    for engine in ENGINES {
        let (name, bench) = (engine.name, engine.bench());
        let [root, child, rest @ ..] = &bench.line[..] else { panic!("{name}") };
        (engine.damage_key)(&bench.path, child.key);
        let opened = engine.open(&bench);
        let before = opened.admin.events(&ListEvents::new()).unwrap().items.len();
        // Whose a damaged key is, its owner can't show.
        let keys = OwnerKeys::new(Arc::clone(&opened.store), owner("acme"), "alice").unwrap();
        let refused = keys.revoke_with_descendants(root.key);
        assert!(matches!(refused, Err(Error::Backend(_))), "{name}: {refused:?}");
        assert!(opened.answer(root).is_ok(), "{name}");

        let tree = opened.admin.revoke_with_descendants(root.key).unwrap();
        assert_eq!((tree.key.id, tree.revoked), (root.key, 4), "{name}");
        for token in [root].into_iter().chain(rest) {
            assert_eq!(opened.answer(token), Err(REVOKED), "{name}");
        }
        assert!(opened.answer(child).is_err() && opened.answer(&bench.stranger).is_ok(), "{name}");
        let events = opened.admin.events(&ListEvents::new()).unwrap().items;
        let mut told: Vec<_> = events[before..].iter().map(|event| event.key).collect();
        assert!(events[before..].iter().all(|event| event.kind == EventKind::KeyRevoked), "{name}");
        told.sort_unstable();
        let line: Vec<_> = bench.line.iter().map(|token| Some(token.key)).collect();
        assert_eq!(told, line, "{name}");
        let shown = ListKeys::new().states(keyhasp::State::ALL);
        let entry = opened.admin.list(&shown).unwrap().damaged.remove(0);
        assert!(entry.key == Some(child.key) && entry.revoked.is_some(), "{name}");
        // Done again, it changes nothing.
        assert_eq!(opened.admin.revoke_with_descendants(root.key).unwrap().revoked, 0, "{name}");
    }
}

/// A damaged key can't be shown. It is revoked alone, and the keys that it created are listed.
#[test]
fn a_damaged_key_takes_no_descendants_along_and_lists_show_them() {
    for engine in ENGINES {
        let (name, bench) = (engine.name, engine.bench());
        let [root, child, rest @ ..] = &bench.line[..] else { panic!("{name}") };
        (engine.damage_key)(&bench.path, root.key);
        let opened = engine.open(&bench);
        let refused = opened.admin.revoke_with_descendants(root.key);
        let Err(Error::Backend(error)) = refused else { panic!("{name}: {refused:?}") };
        assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{name}");
        assert!(error.to_string().contains(&root.key.to_string()), "{name}: {error}");
        assert!(opened.answer(child).is_ok(), "{name}: all or none");

        opened.admin.revoke(root.key).unwrap();
        let created = ListKeys::new().created_by_key(root.key);
        let created: Vec<_> = opened.admin.list(&created).unwrap().items;
        assert_eq!(created.iter().map(|key| key.id).collect::<Vec<_>>(), [child.key], "{name}");
        let tree = opened.admin.revoke_with_descendants(child.key).unwrap();
        assert_eq!(tree.revoked, 3, "{name}");
        for token in [child].into_iter().chain(rest) {
            assert_eq!(opened.answer(token), Err(REVOKED), "{name}");
        }
        assert!(opened.answer(root).is_err() && opened.answer(&bench.stranger).is_ok(), "{name}");
    }
}
