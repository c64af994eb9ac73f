//! Revocations of all keys, and purges, where a count, a list of keys or a record is damaged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome,
};
use keyhasp::key::{RejectReason, State};
use keyhasp::store::Unavailable;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, EventKind, Issued, KeyId, KeyStore, ListEvents,
    ListKeys, ManualClock, OwnerId, Store, VerifyError,
};
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::common::{HOUR, builder, clock, owner};

const REVOKED: Result<(), VerifyError> = Err(VerifyError::Rejected(RejectReason::Revoked));
const GONE: Result<(), VerifyError> = Err(VerifyError::Unrecognized);

/// A file, and the store on it, whose pieces only the test works.
struct World {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    clock: Arc<ManualClock>,
    openings: u64,
    store: Arc<Store>,
    admin: AdminKeys,
}

fn opened(path: &Path, clock: &Arc<ManualClock>, seed: u64) -> (Arc<Store>, AdminKeys) {
    let options = SqliteOptions::exclusive().sync_off_for_tests();
    let backend = Sqlite::open_or_create(path, options).unwrap().0;
    let store = builder(clock, seed).without_sweeps_for_tests().open(backend).unwrap();
    let store = Arc::new(store);
    let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
    (store, admin)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, clock) = (dir.path().join("keys.db"), clock());
        let (store, admin) = opened(&path, &clock, 1);
        let world = Self { _dir: dir, path, clock, openings: 1, store, admin };
        world.create_owner();
        world
    }

    fn create_owner(&self) {
        self.admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap();
    }

    fn create(&self) -> Issued {
        self.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap()
    }

    fn revoke_all(&self) {
        self.admin.revoke_all(&owner("org"), None).unwrap();
    }

    fn purge(&self) {
        let _ = self.admin.suspend_owner(&owner("org")).unwrap();
        self.admin.purge_owner(&owner("org")).unwrap();
    }

    /// Revokes all keys, or purges the owner and creates it again; returns the answer of each key from
    /// then on.
    fn end_all(&self, purges: bool) -> Result<(), VerifyError> {
        if purges {
            self.purge();
            self.create_owner();
            return GONE;
        }
        self.revoke_all();
        REVOKED
    }

    /// Repairs the database: then the pieces are written, nothing is found, and the keys answer so.
    fn mended(&mut self, keys: &[&Issued], expected: Result<(), VerifyError>) {
        self.store.repair().unwrap();
        self.store.finish_sweeps().unwrap();
        assert_eq!(self.store.check().unwrap(), []);
        self.reopened_after(|_| {});
        self.answers(keys, expected);
    }

    /// Closes the store, does something to its file, and opens it again.
    fn reopened_after(&mut self, fault: impl FnOnce(&Connection)) {
        self.store.close().unwrap();
        let raw = Connection::open(&self.path).unwrap();
        // Like a fault of the disk: no trigger notes it.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
        fault(&raw);
        drop(raw);
        self.openings += 1;
        self.clock.advance(HOUR);
        (self.store, self.admin) = opened(&self.path, &self.clock, self.openings);
    }

    fn damage(&mut self, keys: &[&Issued]) {
        self.reopened_after(|raw| {
            for issued in keys {
                let sql = "UPDATE keys SET access = 'read_only' WHERE id = ?";
                assert_eq!(raw.execute(sql, [issued.key.id.to_bytes()]).unwrap(), 1);
            }
        });
    }

    fn answers(&self, keys: &[&Issued], expected: Result<(), VerifyError>) {
        for issued in keys {
            let verified = self.store.verify(issued.token.expose().as_bytes());
            assert_eq!(verified.map(drop), expected);
        }
    }

    fn listed(&self) -> (Vec<KeyId>, Vec<Option<KeyId>>) {
        let page = self.admin.list(&ListKeys::new().owner(owner("org"))).unwrap();
        let keys = page.items.iter().map(|key| key.id).collect();
        (keys, page.damaged.iter().map(|entry| entry.key).collect())
    }
}

const NO_COUNTS: &str = "UPDATE owners SET keys_all = 0, keys_unrevoked = 0, keys_live = 0, \
                         keys_live_standard = 0";

#[test]
fn a_revocation_and_a_purge_bind_whatever_the_counts_say() {
    for purges in [false, true] {
        let mut world = World::new();
        let keys = [world.create(), world.create()];
        let keys: Vec<&Issued> = keys.iter().collect();
        world.reopened_after(|raw| assert_eq!(raw.execute(NO_COUNTS, []).unwrap(), 1));
        let expected = world.end_all(purges);
        world.answers(&keys, expected);
        world.reopened_after(|_| {});
        world.answers(&keys, expected);
        // The counts would be less than none, which the thread tells; a repair makes them right.
        assert!(world.store.finish_sweeps().is_err());
        world.reopened_after(|_| {});
        world.answers(&keys, expected);
        world.mended(&keys, expected);
    }
}

/// The damaged key counted, and its purge isn't by a piece.
#[test]
fn a_damaged_key_that_is_purged_before_its_piece_keeps_no_later_revocation_from_binding() {
    let mut world = World::new();
    let keys = [world.create(), world.create()];
    world.damage(&[&keys[1]]);
    world.revoke_all();
    world.admin.purge(keys[1].key.id).unwrap();
    let later = world.create();
    assert_eq!(world.admin.revoke_all(&owner("org"), None).unwrap().revoked, 1);
    world.reopened_after(|_| {});
    world.answers(&[&keys[0], &later], REVOKED);
    world.store.finish_sweeps().unwrap();
    world.reopened_after(|_| {});
    world.answers(&[&keys[0], &later], REVOKED);
}

/// The list of an owner's keys is an index. A check finds what it lacks, and a repair makes it again.
#[test]
fn a_sweep_does_not_end_while_a_key_is_missing_in_the_list() {
    for purges in [false, true] {
        let mut world = World::new();
        let keys = [world.create(), world.create()];
        let id = keys[0].key.id.to_bytes();
        world.reopened_after(|raw| {
            raw.execute_batch(
                "PRAGMA writable_schema = ON;
                 CREATE TEMP TABLE row AS SELECT * FROM keys;
                 CREATE TEMP TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'keys_by_owner'",
            )
            .unwrap();
            // With the whole schema, no entry of the row is left; without the index, none is made there.
            raw.execute("DELETE FROM keys WHERE id = ?", [id]).unwrap();
            raw.execute_batch(
                "DELETE FROM sqlite_schema WHERE name = 'keys_by_owner';
                 PRAGMA writable_schema = RESET; PRAGMA writable_schema = ON",
            )
            .unwrap();
            raw.execute("INSERT INTO keys SELECT * FROM row WHERE id = ?", [id]).unwrap();
            raw.execute_batch(
                "INSERT INTO sqlite_schema SELECT * FROM kept; PRAGMA writable_schema = RESET",
            )
            .unwrap();
        });
        let keys: Vec<&Issued> = keys.iter().collect();
        world.answers(&keys, Ok(()));
        let expected = world.end_all(purges);
        let _ = world.store.finish_sweeps();
        world.reopened_after(|_| {});
        world.answers(&keys, expected);
        world.mended(&keys, expected);
    }
}

/// A damaged record doesn't say when its key was issued. Its id does, more or less.
#[test]
fn a_purge_ends_the_damaged_keys_of_its_own_owner_and_no_successors() {
    let mut world = World::new();
    let first = [world.create(), world.create()];
    world.damage(&[&first[1]]);
    world.purge();
    world.create_owner();
    let second = [world.create(), world.create()];
    world.damage(&[&second[1]]);
    world.store.finish_sweeps().unwrap();
    assert_eq!(world.listed(), (vec![second[0].key.id], vec![Some(second[1].key.id)]));
    let page = world.admin.list(&ListKeys::new().owner(owner("org"))).unwrap();
    assert!(page.damaged[0].revoked.is_none());
    world.answers(&[&first[0], &first[1]], GONE);
    world.answers(&[&second[0]], Ok(()));
}

/// A backend that loses one commit of a piece, and doesn't know it.
#[derive(Debug)]
struct Losing(Sqlite, AtomicBool);

impl BackendLayer for Losing {
    fn inner(&self) -> &dyn Backend {
        &self.0
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let is_piece = batch.iter().any(|change| change.piece_of.is_some());
        if is_piece && self.1.swap(false, Ordering::Relaxed) {
            return Err(BackendError::new(BackendErrorKind::OutcomeUnknown, "losing", "commit"));
        }
        self.0.commit(batch)
    }
}

/// The store reads again what the lost piece was about.
#[test]
fn a_purged_owner_with_a_damaged_key_is_no_lost_owner() {
    let mut world = World::new();
    let keys = [world.create(), world.create()];
    world.damage(&[&keys[1]]);
    world.purge();
    world.store.close().unwrap();
    let options = SqliteOptions::exclusive().sync_off_for_tests();
    let backend = Losing(Sqlite::open(&world.path, options).unwrap(), AtomicBool::new(true));
    let store = builder(&world.clock, 9).without_sweeps_for_tests().open(backend).unwrap();
    let store: Arc<Store> = Arc::new(store);
    let damaged = || store.health().damaged;
    assert_eq!(damaged().records, 1, "{:?}", damaged());
    assert!(store.finish_sweeps().is_err());
    let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
    // After the recovery.
    admin.create_owner(&owner("next"), CreateOwner::without_key()).unwrap();
    assert_eq!(damaged().records, 1, "{:?}", damaged());
    store.finish_sweeps().unwrap();
    assert_eq!(damaged().records, 0, "{:?}", damaged());
    assert_eq!(store.check().unwrap(), []);
}

/// The way that docs/operations.md tells.
#[test]
fn all_keys_are_revoked_again_after_an_old_row_of_their_owner_was_put_back() {
    let mut world = World::new();
    let old = [world.create(), world.create()];
    let mut row: Vec<Value> = Vec::new();
    world.reopened_after(|raw| {
        let read = |row: &rusqlite::Row<'_>| (0..).map_while(|at| row.get(at).ok()).collect();
        row = raw.query_row("SELECT * FROM owners", [], |row| Ok(read(row))).unwrap();
    });
    world.revoke_all();
    let later = world.create();
    world.reopened_after(|raw| {
        let marks = vec!["?"; row.len()].join(", ");
        let sql = format!("INSERT OR REPLACE INTO owners VALUES ({marks})");
        raw.execute(&sql, params_from_iter(&row)).unwrap();
    });
    // The row alone said that they are revoked; and that the other one was issued afterwards.
    world.answers(&[&old[0], &old[1]], Ok(()));
    let damaged = Err(VerifyError::Unavailable(Unavailable::Damaged));
    world.answers(&[&later], damaged);
    let named = world.store.health().damaged;
    assert_eq!((named.records, named.places[0].column), (1, "owner_epoch"));

    world.revoke_all();
    world.answers(&[&old[0], &old[1]], REVOKED);
    world.answers(&[&later], damaged);
    while world.admin.count(&ListKeys::new().owner(owner("org"))).unwrap() > 0 {
        world.revoke_all();
    }
    for _ in 0..2 {
        world.answers(&[&old[0], &old[1]], REVOKED);
        world.reopened_after(|_| {});
        world.answers(&[&old[0], &old[1], &later], REVOKED);
        world.store.repair().unwrap();
        world.store.finish_sweeps().unwrap();
        assert_eq!(world.store.check().unwrap(), []);
    }
}

/// A damaged row that the backend lists as revoked is no key that isn't, while a sweep is pending.
#[test]
fn a_damaged_revoked_key_is_listed_as_such_before_the_pieces_and_after_them() {
    let mut world = World::new();
    let keys = [world.create(), world.create(), world.create()];
    world.admin.revoke(keys[1].key.id).unwrap();
    world.damage(&[&keys[1]]);
    let reads = |world: &World| {
        let all = (0..32_u8).flat_map(|bits| [(bits, None), (bits, Some(owner("org")))]);
        let read = |(bits, of): (u8, Option<OwnerId>)| {
            let states = State::ALL.into_iter().filter(|state| bits >> *state as u8 & 1 == 1);
            let query = ListKeys::new().states(states);
            let query = match of {
                Some(of) => query.owner(of),
                None => query,
            };
            let page = world.admin.list(&query).unwrap();
            let keys: Vec<KeyId> = page.items.iter().map(|key| key.id).collect();
            let damaged: Vec<_> = page.damaged.iter().map(|entry| entry.key).collect();
            (bits, keys, damaged, world.admin.count(&query).unwrap())
        };
        all.map(read).collect::<Vec<_>>()
    };
    world.revoke_all();
    let pending = reads(&world);
    assert_eq!(world.listed(), (vec![], vec![]));
    let binds = |world: &World| {
        let events = world.admin.events(&ListEvents::new().limit(100)).unwrap().items;
        events.iter().filter(|event| event.kind == EventKind::OwnerKeysRevoked).count()
    };
    // There is nothing left to revoke.
    world.revoke_all();
    assert_eq!(binds(&world), 1);
    world.store.finish_sweeps().unwrap();
    assert_eq!(reads(&world), pending);
    let revoked = ListKeys::new().owner(owner("org")).states([State::Revoked]);
    assert_eq!(world.admin.list(&revoked).unwrap().damaged[0].key, Some(keys[1].key.id));
}
