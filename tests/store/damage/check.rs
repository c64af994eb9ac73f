//! A check finds every planted fault, and a repair mends what follows from records, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, Finding, Repaired};
use keyhasp::key::LimitHolder;
use keyhasp::store::{Unavailable, VerifyError};
use keyhasp::{
    Access, CreateKey, CreateOwner, DelegatedKeys, Error, Expiry, IdempotencyKey, NumericIdChoice,
    Quota, RejectReason, Rotate, SetLimits, UpdateOwner,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::world::{Opened, Token, await_unlocked, open};
use crate::common::{HOUR, clock, owner};

const USED_UP: VerifyError = VerifyError::Rejected(RejectReason::QuotaExhausted {
    holder: LimitHolder::Key,
    refilled_at: None,
});
const DAMAGED: VerifyError = VerifyError::Unavailable(Unavailable::Damaged);

struct World {
    _dir: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<keyhasp::ManualClock>,
    /// A key with a number and a name, one with a quota of which 2 of 3 uses are left, one with a
    /// previous token, one that a delegate created.
    keys: [Token; 4],
}

/// A closed database with something in each table.
fn world<B: Backend>(create: impl Fn(&Path) -> B) -> World {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let clock = clock();
    let opened = open(create(&path), &clock).unwrap();
    let admin = &opened.admin;
    let limits = UpdateOwner::new().limits(SetLimits::new().quota(Quota::one_time(90).unwrap()));
    admin.create_owner(&owner("acme"), CreateOwner::default()).unwrap();
    admin.update_owner(&owner("acme"), limits).unwrap();
    let full = || CreateKey::new(Access::Full);
    let expiry = Expiry::At(
        opened.store.events(admin.authority(), &keyhasp::ListEvents::new()).unwrap().items[0]
            .at
            .saturating_add(HOUR * 900),
    );
    let requests = [
        full().name("first").numeric_id(NumericIdChoice::Next).expires(expiry),
        full().limits(SetLimits::new().quota(Quota::one_time(3).unwrap())),
        full(),
    ];
    let [first, second, third] = requests.map(|request| {
        let issued = admin.create(&owner("acme"), request).unwrap();
        Token { key: issued.key.id, text: issued.token.expose().into() }
    });
    admin.rotate(third.key, Rotate::with_grace(HOUR * 24)).unwrap();
    let verified = opened.store.verify(&first.text).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&opened.store), &verified, "a script").unwrap();
    let once = IdempotencyKey::new("the-request").unwrap();
    let request = full().expires(expiry);
    let issued = delegate.create_once(request, &once).unwrap();
    let token = issued.token.unwrap().expose().into();
    let fourth = Token { key: issued.key.id, text: token };
    assert!(opened.answer(&second).is_ok());
    opened.store.close().unwrap();
    World { _dir: dir, path, clock, keys: [first, second, third, fourth] }
}

fn sqlite() -> World {
    world(|path| Sqlite::create(path, SqliteOptions::exclusive()).unwrap())
}

fn sled() -> World {
    world(|path| Sled::create(path, SledOptions::default().sync_off_for_tests()).unwrap())
}

impl World {
    fn open_sqlite(&self) -> Opened {
        open(Sqlite::open(&self.path, SqliteOptions::exclusive()).unwrap(), &self.clock).unwrap()
    }

    fn open_sled(&self) -> Result<Opened, Error> {
        let options = SledOptions::default().sync_off_for_tests();
        open(Sled::open(&self.path, options)?, &self.clock)
    }

    fn edit(&self, sql: &str) {
        let connection = Connection::open(&self.path).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
        let mut sql = sql.to_owned();
        for (number, token) in self.keys.iter().enumerate() {
            let id = format!("x'{}'", token.key.to_string().replace('-', ""));
            sql = sql.replace(&format!("{{{number}}}"), &id);
        }
        connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn raw(&self, change: impl Fn(&::sled::Db)) {
        let db = ::sled::open(self.path.join("sled-1")).unwrap();
        change(&db);
        db.flush().unwrap();
        drop(db);
        await_unlocked(&self.path);
    }
}

#[test]
fn an_undamaged_database_has_no_faults_and_a_repair_changes_nothing() {
    let sqlite = sqlite();
    let opened = sqlite.open_sqlite();
    let rows = || {
        let raw = Connection::open(&sqlite.path).unwrap();
        let version: i64 = raw.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap();
        let pages: i64 = raw.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        (version, pages)
    };
    let before = rows();
    assert_eq!(opened.concrete.check().unwrap(), []);
    assert_eq!(opened.concrete.repair().unwrap(), Repaired::default());
    assert_eq!(rows(), before);
    let last = opened.store.wait_for_event(0, std::time::Duration::ZERO).unwrap();

    let sled = sled();
    let opened = sled.open_sled().unwrap();
    assert_eq!(opened.concrete.check().unwrap(), []);
    assert_eq!(opened.concrete.repair().unwrap(), Repaired::default());
    assert_eq!(opened.store.wait_for_event(0, std::time::Duration::ZERO).unwrap(), last);
}

/// An edit, and what a finding of it begins with; and whether a repair mends it.
const IN_SQLITE: [(&str, &str, bool); 17] = [
    ("UPDATE keys SET name = 'other' WHERE id = {0}", "keys.record_checksum of key", false),
    ("UPDATE keys SET access = 'read_only' WHERE id = {0}", "keys.state_checksum of key", false),
    ("UPDATE owners SET max_keys = 3", "owners.record_checksum of owner", false),
    ("UPDATE previous_tokens SET since = since + 1", "keys.state_checksum of key", false),
    ("UPDATE events SET actor = 'canary' WHERE sequence = 3", "events.record of event 3", false),
    ("DELETE FROM events WHERE sequence IN (3, 4)", "events.sequence of event 4", false),
    ("UPDATE requests SET generation = 9", "requests.checksum of a request", false),
    ("UPDATE key_usage SET quota_left = 9", "key_usage.quota_checksum of key", true),
    ("UPDATE key_usage SET accepted = -1", "key_usage.accepted of key", true),
    ("UPDATE owner_usage SET quota_left = 9", "owner_usage.quota_checksum of owner", true),
    ("DELETE FROM key_usage", "usage.quota of key", true),
    ("DELETE FROM owner_usage", "usage.quota of owner", true),
    ("UPDATE key_usage SET key_id = randomblob(16)", "key_usage of key", true),
    ("UPDATE owners SET keys_live = 9", "the counts of owner", true),
    ("UPDATE numeric_ids SET key_id = {1}", "numeric_ids of key", true),
    ("INSERT INTO previous_tokens SELECT randomblob(16), 1, digest, scheme, pepper, prefix, issued_at,
        owner_epoch, store_epoch, since, ends_at FROM previous_tokens", "previous_tokens of", true),
    ("PRAGMA writable_schema = ON; CREATE TEMP TABLE kept AS SELECT * FROM sqlite_schema
        WHERE name = 'keys_by_name'; DELETE FROM sqlite_schema WHERE name = 'keys_by_name';
        PRAGMA writable_schema = RESET; PRAGMA writable_schema = ON;
        DELETE FROM keys WHERE id = {2}; UPDATE owners SET keys_all = keys_all - 1,
          keys_live = keys_live - 1, keys_live_standard = keys_live_standard - 1;
        DELETE FROM previous_tokens;
        UPDATE keys SET name = 'stale' WHERE id = {0};
        INSERT INTO sqlite_schema SELECT * FROM kept; PRAGMA writable_schema = RESET",
        "index keys_by_name", true),
];

#[test]
fn every_planted_fault_in_sqlite_is_found_and_what_follows_from_records_is_mended() {
    for (sql, finding, is_mended) in IN_SQLITE {
        let world = sqlite();
        world.edit(sql);
        let opened = world.open_sqlite();
        found_and_mended(&opened, sql, finding, is_mended);
        opened.store.close().unwrap();
        let opened = world.open_sqlite();
        assert!(!opened.concrete.check().unwrap().iter().any(Finding::is_mendable), "{sql}");
    }
}

fn found_and_mended(opened: &Opened, what: &str, finding: &str, is_mended: bool) {
    let is_it = |found: &Finding| found.to_string().starts_with(finding);
    let found = opened.concrete.check().unwrap();
    assert!(found.iter().any(is_it), "{what}: {found:?}");
    let repaired = opened.concrete.repair().unwrap();
    assert_eq!(repaired.mended.iter().any(is_it), is_mended, "{what}: {repaired:?}");
    assert_eq!(repaired.left.iter().any(is_it), !is_mended, "{what}: {repaired:?}");
    assert_eq!(opened.concrete.check().unwrap(), repaired.left, "{what}");
}

#[test]
fn a_page_of_zeros_loses_its_rows_and_a_page_of_an_index_is_made_again() {
    for (name, is_index) in [("keys_by_name", true), ("events_by_owner", true), ("requests", false)]
    {
        let world = sqlite();
        let page = world.zero(name, None);
        let opened = world.open_sqlite();
        assert!(world.keys.iter().all(|token| opened.answer(token).is_ok()), "{name}");
        let finding =
            if is_index { format!("index {name}") } else { format!("table {name}, page {page}") };
        found_and_mended(&opened, name, &finding, is_index);
        if is_index {
            let request = CreateKey::new(Access::Full).name("first");
            assert!(opened.admin.create(&owner("acme"), request).is_ok(), "{name}");
            opened.store.close().unwrap();
            assert_eq!(world.open_sqlite().concrete.check().unwrap(), [], "{name}");
        }
    }
}

/// A quota whose state is damaged or lost lets nothing in, before and after a repair, until an
/// administrator refills it.
#[test]
fn a_lost_quota_is_used_up() {
    for sql in [
        "UPDATE key_usage SET quota_left = 9",
        "DELETE FROM key_usage",
        "UPDATE key_usage SET key_id = randomblob(16)",
        "UPDATE key_usage SET quota_version = 0",
        "UPDATE key_usage SET quota_version = NULL, quota_begun = NULL, quota_left = NULL,
           quota_debt = NULL, quota_period = NULL, quota_turn = NULL, quota_raised = NULL,
           quota_raised_before = NULL, quota_checksum = NULL",
    ] {
        let world = sqlite();
        world.edit(sql);
        let opened = world.open_sqlite();
        let [first, second, ..] = &world.keys;
        assert_eq!(opened.answer(second).unwrap_err(), DAMAGED, "{sql}");
        assert!(opened.answer(first).is_ok(), "{sql}");
        assert_eq!(opened.store.health().damaged.records, 1, "{sql}");
        opened.concrete.repair().unwrap();
        assert_eq!(opened.answer(second).unwrap_err(), USED_UP, "{sql}");
        assert_eq!(opened.store.health().damaged.records, 0, "{sql}");
        opened.store.close().unwrap();
        let opened = world.open_sqlite();
        assert_eq!(opened.answer(second).unwrap_err(), USED_UP, "{sql}");
        opened.admin.refill_quota(second.key).unwrap();
        assert!(opened.answer(second).is_ok(), "{sql}");
    }
}

/// Without a repair an administrator can refill it too.
#[test]
fn refilling_a_lost_quota_mends_it() {
    let world = sqlite();
    world.edit("DELETE FROM key_usage");
    let opened = world.open_sqlite();
    let second = &world.keys[1];
    assert_eq!(opened.answer(second).unwrap_err(), DAMAGED);
    let limits = SetLimits::new().quota(Quota::one_time(2).unwrap());
    opened.admin.update(second.key, keyhasp::UpdateKey::new().limits(limits)).unwrap();
    // Another quota gives nothing back of what may have been used.
    assert_eq!(opened.answer(second).unwrap_err(), USED_UP);
    opened.admin.refill_quota(second.key).unwrap();
    assert!(opened.answer(second).is_ok());
}

type Change = fn(&::sled::Tree);

/// A tree, a change of it, and what a finding of it begins with; and whether a repair mends it.
const IN_SLED: [(&str, Change, &str, bool); 9] = [
    ("live_names", clear, "live_names of key", true),
    ("live_names", stray, "an entry of live_names", true),
    ("live_expiries", clear, "live_expiries of key", true),
    ("key_counts", clear, "the counts of owner", true),
    ("numeric_ids", clear, "numeric_ids of key", true),
    ("key_events", clear, "key_events of event", true),
    ("owner_events", stray, "an entry of owner_events", true),
    ("request_times", clear, "request_times of a request", true),
    ("requests", flip, "requests.record of a request", false),
];

fn clear(tree: &::sled::Tree) {
    tree.clear().unwrap();
}

fn stray(tree: &::sled::Tree) {
    let (mut key, value) = tree.first().unwrap().unwrap();
    let last = key.len() - 1;
    key[last] ^= 0x40;
    tree.insert(key, value).unwrap();
}

fn flip(tree: &::sled::Tree) {
    let (key, mut value) = tree.first().unwrap().unwrap();
    let last = value.len() - 1;
    value[last] ^= 1;
    tree.insert(key, value).unwrap();
}

#[test]
fn every_planted_fault_in_sled_is_found_and_what_follows_from_records_is_mended() {
    for (tree, change, finding, is_mended) in IN_SLED {
        let world = sled();
        world.raw(|db| change(&db.open_tree(tree).unwrap()));
        let opened = world.open_sled().unwrap();
        found_and_mended(&opened, tree, finding, is_mended);
        assert!(world.keys.iter().all(|token| opened.answer(token).is_ok()), "{tree}");
        opened.store.close().unwrap();
        let opened = world.open_sled().unwrap();
        assert!(!opened.concrete.check().unwrap().iter().any(Finding::is_mendable), "{tree}");
    }
}

/// A loss in one of these trees lets a revoked key live, or keeps a revocation from reaching one.
#[test]
fn sleds_lost_entries_keep_the_store_from_opening() {
    for tree in ["owners", "keys", "owner_keys", "created_keys", "usage"] {
        let world = sled();
        world.raw(|db| {
            let tree = db.open_tree(tree).unwrap();
            let (key, _) = tree.first().unwrap().unwrap();
            tree.remove(key).unwrap();
        });
        let Err(Error::Backend(error)) = world.open_sled() else { panic!("{tree}") };
        assert_eq!(error.kind(), keyhasp::backend::BackendErrorKind::EarlierState, "{tree}");
        let text = error.to_string();
        assert!(text.contains(tree) && text.contains("put back a copy of DIR"), "{text}");
    }
}

impl World {
    /// Fills a page with zeros: the first page of a table or an index, or a leaf below it.
    fn zero(&self, name: &str, leaf: Option<usize>) -> usize {
        let raw = Connection::open(&self.path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
        let root: i64 = raw.query_row(sql, [name], |row| row.get(0)).unwrap();
        drop(raw);
        let mut bytes = std::fs::read(&self.path).unwrap();
        let mut page = usize::try_from(root).unwrap();
        if let Some(leaf) = leaf {
            let inner = &bytes[(page - 1) * PAGE..page * PAGE];
            assert_eq!(inner[0], 2, "{name} has one page");
            let at = 12 + 2 * leaf;
            let cell = usize::from(u16::from_be_bytes([inner[at], inner[at + 1]]));
            page = u32::from_be_bytes(*inner[cell..].first_chunk().unwrap()) as usize;
        }
        bytes[(page - 1) * PAGE..page * PAGE].fill(0);
        std::fs::write(&self.path, bytes).unwrap();
        page
    }
}

const PAGE: usize = 4_096;

#[test]
fn pages_that_a_store_needs_keep_it_from_opening_and_are_named_with_the_way_out() {
    for name in ["store", "peppers", "keys", "owners", "events", "quarantine"] {
        let world = sqlite();
        let page = world.zero(name, None);
        let options = SqliteOptions::exclusive();
        let opened = Sqlite::open(&world.path, options).map_err(Error::from);
        let Err(Error::Backend(error)) = opened.and_then(|sqlite| open(sqlite, &world.clock))
        else {
            panic!("{name}")
        };
        let text = error.to_string();
        assert_eq!(error.kind(), keyhasp::backend::BackendErrorKind::Corrupt, "{name}");
        let named = [&format!("table {name}, page {page}"), "sqlite3 FILE .dump"];
        assert!(named.iter().all(|part| text.contains(*part)), "{name}: {text}");
    }
}

/// The keys on the page are out, each named, and can be revoked; the others go on, in lists too.
#[test]
fn a_page_of_keys_is_lost_alone() {
    let world = sqlite();
    let opened = world.open_sqlite();
    let create = |number: usize| {
        let request = CreateKey::new(Access::Full).name(format!("key {number}"));
        let issued = opened.admin.create(&owner("acme"), request).unwrap();
        Token { key: issued.key.id, text: issued.token.expose().into() }
    };
    let tokens: Vec<Token> = (0..60).map(create).collect();
    opened.store.close().unwrap();
    world.zero("keys", Some(1));

    let opened = world.open_sqlite();
    let lost: Vec<&Token> = tokens.iter().filter(|token| opened.answer(token).is_err()).collect();
    assert!(lost.len() > 3 && lost.len() < 30, "{}", lost.len());
    for token in &lost {
        assert_eq!(opened.answer(token).unwrap_err(), VerifyError::Unrecognized);
    }
    let damaged = opened.store.health().damaged;
    assert_eq!(damaged.records, lost.len());
    assert!(damaged.places.iter().all(|place| (place.table, place.column) == ("keys", "page")));
    let of_all = keyhasp::ListKeys::new().limit(1_000);
    for query in [of_all.clone(), of_all.owner(owner("acme"))] {
        let page = opened.admin.list(&query).unwrap();
        assert_eq!((page.items.len(), page.damaged.len()), (64 - lost.len(), lost.len()));
        assert!(page.damaged.iter().all(|entry| lost.iter().any(|it| entry.key == Some(it.key))));
    }
    for token in &lost {
        opened.admin.revoke(token.key).unwrap();
    }
    let whole = tokens.iter().find(|token| opened.answer(token).is_ok()).unwrap();
    opened.admin.revoke(whole.key).unwrap();
    assert!(opened.answer(whole).is_err());
    let found = opened.concrete.check().unwrap();
    assert!(found.iter().any(|finding| finding.to_string().starts_with("table keys, page")));
    opened.concrete.repair().unwrap();
    opened.store.close().unwrap();
    let opened = world.open_sqlite();
    assert!(lost.iter().all(|token| opened.answer(token).is_err()));
}

/// The events on the page are stepped over, and named by their numbers.
#[test]
fn a_page_of_events_is_stepped_over() {
    let world = sqlite();
    let opened = world.open_sqlite();
    for number in 0..250 {
        let update = keyhasp::UpdateKey::new().name(format!("name {number}"));
        opened.admin.update(world.keys[0].key, update).unwrap();
    }
    let last = opened.store.wait_for_event(0, std::time::Duration::ZERO).unwrap();
    opened.store.close().unwrap();
    let raw = Connection::open(&world.path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'";
    let root: i64 = raw.query_row(sql, [], |row| row.get(0)).unwrap();
    drop(raw);
    let mut bytes = std::fs::read(&world.path).unwrap();
    let root = usize::try_from(root).unwrap();
    // The second child of the root.
    let cell = (root - 1) * PAGE + 14;
    let at = (root - 1) * PAGE + usize::from(u16::from_be_bytes([bytes[cell], bytes[cell + 1]]));
    let page = u32::from_be_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    bytes[(page - 1) * PAGE..page * PAGE].fill(0);
    std::fs::write(&world.path, bytes).unwrap();

    let opened = world.open_sqlite();
    let key = world.keys[0].key;
    let all = keyhasp::ListEvents::new();
    for (query, count) in [(all.clone(), Some(last)), (all.key(key), None)] {
        let (mut after, mut seen, mut damaged) = (0, 0, Vec::new());
        loop {
            let page = opened.admin.events(&query.clone().after(after).limit(20)).unwrap();
            seen += page.items.len();
            damaged.extend(page.damaged);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert!(damaged.len() > 5 && damaged.is_sorted(), "{damaged:?}");
        assert!(count.is_none_or(|count| count == (seen + damaged.len()) as u64), "{count:?}");
    }
    opened.admin.update(key, keyhasp::UpdateKey::new().name("goes on")).unwrap();
}

/// A change that needs a page that can't be read is refused alone.
#[test]
fn a_page_that_one_change_needs_refuses_no_other() {
    use keyhasp::testing::sample;
    let world = sqlite();
    world.zero("keys_by_name", None);
    let sqlite = Sqlite::open(&world.path, SqliteOptions::exclusive()).unwrap();
    let mut named = sample::key(1, "acme").unwrap();
    named.name = Some(keyhasp::key::KeyName::new("named").unwrap());
    let other = sample::owner("other").unwrap();
    let batch = [sample::create_key(&named).unwrap(), sample::create_owner(&other).unwrap()];
    let outcome = sqlite.commit(&batch).unwrap();
    assert!(matches!(outcome[0], Err(keyhasp::backend::Rejection::Damaged(_))), "{outcome:?}");
    assert!(outcome[1].is_ok() && sqlite.owner(&other.id).unwrap().is_some());
}
