//! Retiring a pepper and changing rules, beside damaged records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, DamagedRecord};
use keyhasp::store::{ChangeRules, StoreBuilder};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, IfInUse, Issued, ManualClock, Peppers, RejectReason,
    Rotate, Store, StoreRules, VerifyError,
};
use rusqlite::Connection;

use super::world::{Token, await_unlocked};
use crate::common::{World, builder, clock, owner};

/// A closed database whose tokens are under pepper 1.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
    keys: Vec<Token>,
    open: fn(&Path) -> Arc<dyn Backend>,
}

fn sqlite(path: &Path) -> Arc<dyn Backend> {
    Arc::new(Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0)
}

fn sled(path: &Path) -> Arc<dyn Backend> {
    Arc::new(Sled::open_or_create(path, SledOptions::default().sync_off_for_tests()).unwrap().0)
}

fn peppers(numbers: &[u8]) -> Peppers {
    let bytes = |number: u8| [number ^ 0x33; 32];
    let (first, others) = numbers.split_first().unwrap();
    let current = Peppers::new((*first).into(), bytes(*first)).unwrap();
    others.iter().fold(current, |all, number| all.and((*number).into(), bytes(*number)).unwrap())
}

impl Place {
    /// Writes an owner with keys, each with a name of its own but the last two.
    fn new(open: fn(&Path) -> Arc<dyn Backend>, keys: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let mut place = Self { _dir: dir, path, clock: clock(), keys: Vec::new(), open };
        let (world, _) = place.open(1, |builder| builder.peppers(peppers(&[1]))).unwrap();
        world.admin.create_owner(&owner("acme"), CreateOwner::default()).unwrap();
        for number in 0..keys {
            let request =
                CreateKey::new(Access::Full).name(format!("key {}", number.min(keys - 2)));
            let Issued { key, token, .. } = world.admin.create(&owner("acme"), request).unwrap();
            place.keys.push(Token { key: key.id, text: token.expose().into() });
        }
        world.store.close().unwrap();
        place
    }

    fn open(
        &self,
        seed: u64,
        configure: impl FnOnce(StoreBuilder) -> StoreBuilder,
    ) -> Result<(World, Arc<Store>), Error> {
        let builder = configure(builder(&self.clock, seed));
        let store = Arc::new(builder.open_on((self.open)(&self.path))?);
        Ok((World::of(Arc::clone(&store) as _, Arc::clone(&self.clock)), store))
    }

    /// Flips a bit in the row of the last key, or flips it back.
    fn flip_key(&self, column: &str) {
        self.flip("keys", column, &self.keys.last().unwrap().key.to_bytes());
    }

    fn flip(&self, table: &str, column: &str, id: &[u8]) {
        if self.path.is_file() {
            let raw = Connection::open(&self.path).unwrap();
            raw.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
            // Text has other bits than a blob, and the same bytes.
            let sql = format!(
                "UPDATE {table} SET {column} = CASE {column} WHEN 'full' THEN 'read_only' ELSE 'full' \
                 END WHERE CAST(id AS blob) = ?"
            );
            assert_eq!(raw.execute(&sql, [id]).unwrap(), 1, "{sql}");
            return;
        }
        let db = ::sled::open(self.path.join("sled-1")).unwrap();
        let tree = db.open_tree(table).unwrap();
        // Keys lie in the order of their inverted ids: the last one first.
        let (id, value) = match table {
            "keys" => tree.first().unwrap().unwrap(),
            _ => tree.scan_prefix(id).next().unwrap().unwrap(),
        };
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        tree.insert(id, value).unwrap();
        db.flush().unwrap();
        drop((tree, db));
        await_unlocked(&self.path);
    }
}

fn verdict(world: &World, token: &Token) -> Result<(), VerifyError> {
    world.verifier.verify(&token.text).map(drop)
}

#[test]
fn a_store_with_a_lost_pepper_opens_beside_a_damaged_key_and_a_damaged_owner() {
    for open in [sqlite as fn(&Path) -> Arc<dyn Backend>, sled] {
        let place = Place::new(open, 4);
        place.flip_key("access");
        let retiring = |if_in_use| {
            move |builder: StoreBuilder| builder.peppers(peppers(&[2])).retire_pepper(1, if_in_use)
        };
        let Err(refused) = place.open(2, retiring(IfInUse::Refuse)) else { panic!("it opened") };
        let shown = refused.to_string();
        let Error::PepperInUse { used, .. } = refused else { panic!("{shown}") };
        assert_eq!((used.tokens, used.keys, used.damaged), (3, 3, 1));
        assert!(shown.contains("1 damaged"), "{shown}");

        let (world, store) = place.open(3, retiring(IfInUse::EndTokens)).unwrap();
        assert_eq!(store.retired_at_opening()[0].ended, used);
        for token in &place.keys {
            assert_eq!(verdict(&world, token), Err(VerifyError::Unrecognized));
        }
        let damaged = place.keys.last().unwrap().key;
        let places = world.store.health().damaged.places;
        assert_eq!(places[0].record, DamagedRecord::Key(damaged), "{places:?}");
        let again = world.admin.rotate(place.keys[0].key, Rotate::new()).unwrap();
        assert!(world.verifier.verify(again.token.expose()).is_ok());
        world.store.close().unwrap();
        drop((world, store));

        // Put back, the row is whole, and its token dead for ever: even with the old pepper.
        place.flip_key("access");
        let (world, _store) = place.open(4, |builder| builder.peppers(peppers(&[2, 1]))).unwrap();
        assert_eq!(world.store.health().damaged.records, 0);
        let superseded = Err(VerifyError::Rejected(RejectReason::Superseded));
        assert_eq!(verdict(&world, place.keys.last().unwrap()), superseded);
        world.store.close().unwrap();
        drop((world, _store));

        // The same beside a damaged owner.
        let place = Place::new(open, 2);
        place.flip("owners", "max_access", b"acme");
        let (_, store) = place.open(5, retiring(IfInUse::EndTokens)).unwrap();
        let ended = &store.retired_at_opening()[0].ended;
        assert_eq!((ended.tokens, ended.damaged), (2, 0));
    }
}

/// SQLite writes nothing in a transaction that has met such a page, so this is an error, and no unknown
/// outcome.
#[test]
fn a_page_that_cannot_be_read_keeps_a_pepper_from_being_retired() {
    let place = Place::new(sqlite, 60);
    let raw = Connection::open(&place.path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'keys'";
    let root: u32 = raw.query_row(sql, [], |row| row.get(0)).unwrap();
    drop(raw);
    let mut bytes = std::fs::read(&place.path).unwrap();
    let root = (root as usize - 1) * 4_096;
    // The second child of the root.
    let cell = root + usize::from(u16::from_be_bytes([bytes[root + 14], bytes[root + 15]]));
    let page = u32::from_be_bytes(*bytes[cell..].first_chunk().unwrap()) as usize;
    bytes[(page - 1) * 4_096..page * 4_096].fill(0);
    std::fs::write(&place.path, bytes).unwrap();

    let end =
        |builder: StoreBuilder| builder.peppers(peppers(&[2])).retire_pepper(1, IfInUse::EndTokens);
    let before = (place.open)(&place.path).metadata().unwrap();
    let Err(Error::Backend(error)) = place.open(2, end) else { panic!("it opened") };
    assert_eq!(error.kind(), BackendErrorKind::Corrupt);
    assert!(error.to_string().contains("page"), "{error}");
    assert_eq!((place.open)(&place.path).metadata().unwrap(), before);
}

#[test]
fn rules_change_beside_a_damaged_key() {
    for open in [sqlite as fn(&Path) -> Arc<dyn Backend>, sled] {
        let place = Place::new(open, 3);
        let with = |builder: StoreBuilder| builder.peppers(peppers(&[1]));
        let (world, _) = place.open(2, with).unwrap();
        let unique = StoreRules { unique_names: true, ..StoreRules::default() };
        let change = |world: &World, rules| {
            world.admin.change_rules(ChangeRules::new().rules(rules)).map(drop)
        };
        assert!(change(&world, unique).is_err(), "two keys have one name");
        world.store.close().unwrap();
        drop(world);

        place.flip_key("access");
        let (world, _) = place.open(3, with).unwrap();
        change(&world, unique).unwrap();
        world.store.close().unwrap();
        drop(world);
        // Put back, the key is one that was written before the rule.
        place.flip_key("access");
        let (world, _) = place.open(4, |builder| with(builder).rules(unique)).unwrap();
        assert!(place.keys.iter().all(|token| verdict(&world, token).is_ok()));
    }
}

/// A damaged key isn't the standard key that its owner must keep; where the rule holds, it keeps no
/// other rule from changing.
#[test]
fn a_damaged_standard_key_satisfies_no_new_rule_and_forbids_no_other() {
    for open in [sqlite as fn(&Path) -> Arc<dyn Backend>, sled] {
        let place = Place::new(open, 2);
        let with = |builder: StoreBuilder| builder.peppers(peppers(&[1]));
        let keep = StoreRules { keep_standard_key: true, ..StoreRules::default() };
        let (world, _) = place.open(2, with).unwrap();
        world.admin.revoke(place.keys[0].key).unwrap();
        world.store.close().unwrap();
        drop(world);

        place.flip_key("access");
        let (world, _) = place.open(3, with).unwrap();
        let refused = world.admin.change_rules(ChangeRules::new().rules(keep)).unwrap_err();
        assert!(refused.to_string().contains("keep_standard_key"), "{refused}");
        world.store.close().unwrap();
        drop(world);

        place.flip_key("access");
        let (world, _) = place.open(4, with).unwrap();
        world.admin.change_rules(ChangeRules::new().rules(keep)).unwrap();
        world.store.close().unwrap();
        drop(world);

        place.flip_key("access");
        let (world, _) = place.open(5, |builder| with(builder).rules(keep)).unwrap();
        let both = StoreRules { unique_names: true, ..keep };
        world.admin.change_rules(ChangeRules::new().rules(both)).unwrap();
    }
}
