//! One bad row is one bad row.

use std::path::Path;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendErrorKind, Change, DamagedRecord, EventFilter, EventQuery, Write,
};
use keyhasp::event::EventDraft;
use keyhasp::key::Switch;
use keyhasp::store::{ChangedKey, FeedItem, Unavailable, VerifyError};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, EventKind, Issued, ListEvents, ListKeys, OwnerKeys,
    RejectReason,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Opened, Token, open};
use crate::common::{clock, owner};

const UNAVAILABLE: VerifyError = VerifyError::Unavailable(Unavailable::Damaged);
const REVOKED: VerifyError = VerifyError::Rejected(RejectReason::Revoked);
const BLOCKED: VerifyError = VerifyError::Rejected(RejectReason::Blocked);

struct Bench {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    clock: Arc<keyhasp::ManualClock>,
    keys: [Token; 3],
}

fn exclusive(path: &Path) -> Sqlite {
    Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0
}

/// An owner with three keys, in a closed database.
fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let clock = clock();
    let opened = open(exclusive(&path), &clock).unwrap();
    opened.admin.create_owner(&owner("acme"), CreateOwner::default()).unwrap();
    let keys = [1, 2, 3].map(|number| {
        let request = CreateKey::new(Access::Full).name(format!("key {number}"));
        let Issued { key, token, .. } = opened.admin.create(&owner("acme"), request).unwrap();
        Token { key: key.id, text: token.expose().into() }
    });
    opened.store.close().unwrap();
    Bench { _dir: dir, path, clock, keys }
}

impl Bench {
    fn open(&self) -> Opened {
        open(exclusive(&self.path), &self.clock).unwrap()
    }

    fn edit(&self, sql: &str) {
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
        let id = self.keys[1].key.to_string().replace('-', "");
        let sql = sql.replace("{id}", &format!("x'{id}'"));
        assert!(connection.execute(&sql, []).unwrap() > 0, "{sql}");
    }
}

/// A connection whose edits are like a fault of the disk: no trigger notes them.
fn disk(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    connection
}

fn refusal(opened: &Opened, token: &Token) -> VerifyError {
    opened.answer(token).unwrap_err()
}

/// Its own edits of the second key, and what its holder hears.
const EDITS: [(&str, &str, VerifyError); 5] = [
    ("UPDATE keys SET access = 'read_only' WHERE id = {id}", "state_checksum", UNAVAILABLE),
    ("UPDATE keys SET expires_at = -5 WHERE id = {id}", "expires_at", UNAVAILABLE),
    ("UPDATE keys SET owner = 'other' WHERE id = {id}", "state_checksum", UNAVAILABLE),
    (
        "UPDATE keys SET digest = zeroblob(32) WHERE id = {id}",
        "state_checksum",
        VerifyError::Unrecognized,
    ),
    ("UPDATE keys SET digest = x'00' WHERE id = {id}", "digest", VerifyError::Unrecognized),
];

#[test]
fn a_damaged_key_is_out_and_can_be_ended_and_purged() {
    for (sql, column, answer) in EDITS {
        let bench = bench();
        bench.edit(sql);
        let opened = bench.open();
        let [first, second, third] = &bench.keys;
        assert_eq!(refusal(&opened, second), answer, "{sql}");
        assert!(opened.answer(first).is_ok() && opened.answer(third).is_ok(), "{sql}");

        let damaged = opened.store.health().damaged;
        let place = &damaged.places[0];
        assert_eq!((damaged.records, damaged.places.len()), (1, 1), "{sql}");
        assert_eq!((place.table, place.column), ("keys", column), "{sql}");
        assert_eq!(place.record, DamagedRecord::Key(second.key), "{sql}");
        let Err(Error::Backend(error)) = opened.admin.get(second.key) else { panic!("{sql}") };
        assert_eq!(error.kind(), BackendErrorKind::Corrupt);
        let shown = error.to_string();
        let named = [&second.key.to_string(), "keys.", "edited by hand"];
        assert!(named.iter().all(|part| shown.contains(*part)), "{shown}");

        let page = opened.admin.list(&ListKeys::new()).unwrap();
        assert_eq!(page.items.len(), 2, "{sql}");
        assert_eq!(page.damaged[0].key, Some(second.key), "{sql}");

        ended(&bench, opened, answer);
    }
}

/// Blocks, revokes and purges the second key, over a reopening of the database.
fn ended(bench: &Bench, opened: Opened, answer: VerifyError) {
    let [first, second, _] = &bench.keys;
    let right = |rejected| if answer == UNAVAILABLE { rejected } else { answer };
    let ChangedKey::Damaged(done) = opened.admin.block(second.key).unwrap() else { panic!() };
    assert!(done.key == Some(second.key) && done.blocked.is_some() && done.revoked.is_none());
    assert_eq!(refusal(&opened, second), right(BLOCKED));
    opened.admin.revoke(second.key).unwrap();
    assert_eq!(refusal(&opened, second), right(REVOKED));
    let events = opened.admin.events(&ListEvents::new().key(second.key)).unwrap().items;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds[1..], [EventKind::KeyBlocked, EventKind::KeyRevoked]);
    // Done again, it changes nothing.
    opened.admin.revoke(second.key).unwrap();
    assert_eq!(opened.admin.events(&ListEvents::new().key(second.key)).unwrap().items.len(), 3);
    opened.store.close().unwrap();

    let opened = bench.open();
    assert_eq!(refusal(&opened, second), right(REVOKED));
    let shown = ListKeys::new().states(keyhasp::State::ALL);
    let page = opened.admin.list(&shown).unwrap();
    assert!(page.damaged[0].revoked.is_some() && page.damaged[0].blocked.is_some());
    assert!(opened.admin.list(&ListKeys::new()).unwrap().damaged.is_empty());

    opened.admin.purge(second.key).unwrap();
    assert_eq!(refusal(&opened, second), VerifyError::Unrecognized);
    assert_eq!(opened.store.health().damaged.records, 0);
    assert!(matches!(opened.admin.get(second.key), Err(Error::NotFound(_))));
    assert!(opened.answer(first).is_ok());
    // Its name and place are free, and the owner can go.
    let request = CreateKey::new(Access::Full).name("key 2");
    opened.admin.create(&owner("acme"), request).unwrap();
    opened.admin.suspend_owner(&owner("acme")).unwrap();
    opened.admin.purge_owner(&owner("acme")).unwrap();
}

#[test]
fn a_key_damaged_apart_from_what_the_index_needs_verifies_and_its_owner_can_revoke_it() {
    let bench = bench();
    bench.edit("UPDATE keys SET name = 'other' WHERE id = {id}");
    let opened = bench.open();
    let second = &bench.keys[1];
    assert!(opened.answer(second).is_ok());
    let keys = |id: &str| OwnerKeys::new(Arc::clone(&opened.store), owner(id), "alice").unwrap();
    opened.admin.create_owner(&owner("other"), CreateOwner::default()).unwrap();
    assert!(keys("other").revoke(second.key).is_err());
    assert!(opened.answer(second).is_ok());
    keys("acme").revoke(second.key).unwrap();
    assert_eq!(refusal(&opened, second), REVOKED);
}

#[test]
fn of_a_key_whose_owner_is_in_doubt_administrators_alone_decide() {
    let bench = bench();
    bench.edit("UPDATE keys SET access = 'read_only' WHERE id = {id}");
    let opened = bench.open();
    let keys = OwnerKeys::new(Arc::clone(&opened.store), owner("acme"), "alice").unwrap();
    let refused = keys.revoke(bench.keys[1].key);
    assert!(matches!(refused, Err(Error::Backend(_))), "{refused:?}");
    assert_eq!(refusal(&opened, &bench.keys[1]), UNAVAILABLE);
}

#[test]
fn all_keys_of_an_owner_are_revoked_with_the_damaged_one() {
    let bench = bench();
    bench.edit("UPDATE keys SET access = 'read_only' WHERE id = {id}");
    let opened = bench.open();
    let done = opened.admin.revoke_all(&owner("acme"), None).unwrap();
    assert_eq!(done.revoked, 3);
    // The damaged one is out before and after its piece; an entry over it says why.
    opened.concrete.finish_sweeps().unwrap();
    for token in &bench.keys {
        assert_eq!(refusal(&opened, token), REVOKED);
    }
    let page = opened.admin.list(&ListKeys::new()).unwrap();
    assert_eq!((page.items.len(), page.damaged.len()), (0, 0));
}

#[test]
fn the_keys_of_a_damaged_or_lost_owner_are_out_and_can_be_ended() {
    for sql in [
        "UPDATE owners SET max_access = 'read_only'",
        "UPDATE owners SET suspended_at = -1",
        "UPDATE owners SET id = 'other'",
        "DELETE FROM owners",
    ] {
        let bench = bench();
        bench.edit(sql);
        let opened = bench.open();
        for token in &bench.keys {
            assert_eq!(refusal(&opened, token), UNAVAILABLE, "{sql}");
        }
        assert!(opened.store.health().damaged.records >= 4, "{sql}");
        let page = opened.admin.list(&ListKeys::new()).unwrap();
        assert_eq!((page.items.len(), page.damaged.len()), (0, 3), "{sql}");
        for token in &bench.keys {
            opened.admin.revoke(token.key).unwrap();
            assert_eq!(refusal(&opened, token), REVOKED, "{sql}");
        }
    }
}

#[test]
fn a_damaged_previous_token_damages_its_key_alone() {
    let bench = bench();
    let opened = bench.open();
    let rotate = keyhasp::Rotate::with_grace(Duration::from_secs(3_600));
    let new = opened.admin.rotate(bench.keys[1].key, rotate).unwrap();
    opened.store.close().unwrap();
    bench.edit("UPDATE previous_tokens SET ends_at = ends_at + 1 WHERE key_id = {id}");
    let opened = bench.open();
    let current = Token { key: bench.keys[1].key, text: new.token.expose().into() };
    assert_eq!(refusal(&opened, &current), UNAVAILABLE);
    assert_eq!(refusal(&opened, &bench.keys[1]), UNAVAILABLE);
    assert!(opened.answer(&bench.keys[0]).is_ok() && opened.answer(&bench.keys[2]).is_ok());
}

#[test]
fn a_damaged_event_is_stepped_over() {
    let bench = bench();
    bench.edit("UPDATE events SET actor = 'canary' WHERE sequence = 2");
    let opened = bench.open();
    let page = opened.admin.events(&ListEvents::new()).unwrap();
    assert_eq!(page.damaged, [2]);
    let numbers: Vec<_> = page.items.iter().map(|event| event.sequence).collect();
    assert!(numbers.contains(&1) && numbers.contains(&3) && !numbers.contains(&2), "{numbers:?}");
    let mut feed = opened.admin.subscribe(0);
    let mut items = Vec::new();
    for _ in 0..3 {
        items.push(feed.next(Duration::ZERO).unwrap());
    }
    assert!(matches!(&items[0], FeedItem::Events(events) if events.last().unwrap().sequence == 1));
    assert_eq!(items[1], FeedItem::Damaged { number: 2 });
    assert!(matches!(&items[2], FeedItem::Events(events) if events[0].sequence == 3));
}

/// Opens a shared database twice.
fn two_of_a_host(bench: &Bench) -> [Opened; 2] {
    [(); 2].map(|()| {
        let options = SqliteOptions::shared(Duration::from_secs(60)).unwrap();
        open(Sqlite::open(&bench.path, options).unwrap(), &bench.clock).unwrap()
    })
}

/// A shared process that meets a damaged event reads all records again.
#[test]
fn a_shared_process_goes_on_after_a_damaged_event() {
    let bench = bench();
    let [reader, writer] = two_of_a_host(&bench);
    assert!(reader.answer(&bench.keys[0]).is_ok());
    let last = writer.store.wait_for_event(0, Duration::ZERO).unwrap();
    writer.admin.revoke(bench.keys[0].key).unwrap();
    // The event that says so is damaged before the reader sees it, or after: both end the same.
    let edit = format!("UPDATE events SET actor = 'canary' WHERE sequence = {}", last + 1);
    let raw = disk(&bench.path);
    raw.execute(&edit, []).unwrap();
    writer.admin.block(bench.keys[2].key).unwrap();
    wait_for(&reader, &bench.keys[2], BLOCKED);
    assert_eq!(refusal(&reader, &bench.keys[0]), REVOKED);
}

#[test]
fn an_event_of_an_unknown_kind_is_shown_and_its_key_is_loaded_again() {
    newer_version_revokes(true, true);
}

#[test]
fn an_event_of_an_unknown_kind_about_a_key_without_its_owner_has_all_loaded_again() {
    newer_version_revokes(true, false);
}

#[test]
fn an_event_of_an_unknown_kind_that_names_no_record_has_all_loaded_again() {
    newer_version_revokes(false, false);
}

/// A newer version revokes a key, with an event of a kind that this one doesn't know.
fn newer_version_revokes(has_key: bool, has_owner: bool) {
    let bench = bench();
    let shared = || SqliteOptions::shared(Duration::from_secs(60)).unwrap();
    let reader = open(Sqlite::open(&bench.path, shared()).unwrap(), &bench.clock).unwrap();
    assert!(reader.answer(&bench.keys[0]).is_ok());
    let newer = Sqlite::open(&bench.path, shared()).unwrap();
    let mut key = newer.key(bench.keys[0].key).unwrap().unwrap();
    let filter = EventFilter { key: Some(key.id), ..EventFilter::default() };
    let query = EventQuery { after: 0, before: None, filter, limit: 1, examine: 1 };
    let created = newer.events(&query).unwrap().events.remove(0).draft;
    key.version = key.version.next();
    key.revoked = Some(Switch::new(created.at, &created.authority));
    let unknown = EventKind::of_stored(200);
    let event = EventDraft {
        kind: unknown,
        key: created.key.filter(|_| has_key),
        owner: created.owner.filter(|_| has_owner),
        version: key.version,
        ..created
    };
    let change = Change::of(Write::ReplaceKey(Box::new(key)), event);
    assert!(newer.commit(&[change]).unwrap()[0].is_ok());
    wait_for(&reader, &bench.keys[0], REVOKED);
    let events = reader.admin.events(&ListEvents::new()).unwrap();
    assert_eq!(events.items.last().unwrap().kind, unknown);
    assert_eq!(unknown, EventKind::Unknown(200));
}

/// A shared process puts a key out that it finds damaged, and goes on.
#[test]
fn a_shared_process_marks_a_key_that_was_damaged_meanwhile() {
    let bench = bench();
    let [reader, writer] = two_of_a_host(&bench);
    let raw = disk(&bench.path);
    raw.execute(
        "UPDATE keys SET access = 'read_only' WHERE id = ?",
        [bench.keys[1].key.to_bytes()],
    )
    .unwrap();
    writer.admin.block(bench.keys[1].key).unwrap();
    writer.admin.block(bench.keys[2].key).unwrap();
    wait_for(&reader, &bench.keys[2], BLOCKED);
    assert_eq!(refusal(&reader, &bench.keys[1]), BLOCKED);
    assert!(reader.answer(&bench.keys[0]).is_ok());
}

fn wait_for(opened: &Opened, token: &Token, answer: VerifyError) {
    let mut last = 0;
    let started = std::time::Instant::now();
    while opened.answer(token) != Err(answer) {
        assert!(started.elapsed() < Duration::from_secs(600), "{:?}", opened.answer(token));
        last = opened.store.wait_for_event(last, Duration::from_millis(20)).unwrap();
        std::thread::yield_now();
    }
}
