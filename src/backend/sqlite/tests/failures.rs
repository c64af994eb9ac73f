//! Commits that fail before they could count.

use std::time::Duration;

use super::fixtures::{Fixture, create_key, create_owner, key, owner_id, replace};
use crate::backend::sqlite::SqliteOptions;
use crate::backend::{Backend, BackendErrorKind, Change};
use crate::id::KeyId;

#[test]
fn a_full_disk_changes_nothing() {
    let fixture = Fixture::with_keys(1..=2);
    let last = fixture.sqlite.last_event().unwrap();
    let limit = |pages: u32| {
        fixture.sqlite.writer.with_connection(|writer| {
            writer.pragma_update(None, "max_page_count", pages).unwrap();
        });
    };
    // Less than there is means no page more.
    limit(1);
    let mut many = Change::default();
    many.operations.extend((10..200).map(|n| create_key(&key(n, "acme"))));
    let error = fixture.sqlite.commit(&[many.clone()]).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Full);
    assert!(error.to_string().ends_with("keys.db (SQLITE_FULL, 13)"), "{error}");
    assert_eq!(fixture.sqlite.last_event().unwrap(), last);
    assert!(fixture.sqlite.key(KeyId::from_u128(10)).unwrap().is_none());
    // And it goes on by itself once there is space.
    limit(10_000);
    assert!(fixture.sqlite.commit(&[many]).unwrap()[0].is_ok());
    assert_eq!(fixture.sqlite.last_event().unwrap(), last + 190);
}

#[test]
fn who_waits_too_long_for_another_process_did_nothing() {
    let options = SqliteOptions::exclusive().busy_timeout(Duration::ZERO).unwrap();
    let fixture = Fixture::with(options);
    let other = fixture.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = fixture.sqlite.commit(&[create_owner("acme")]).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::TimedOut);
    assert!(fixture.sqlite.owner(&owner_id("acme")).unwrap().is_none());
    other.execute_batch("ROLLBACK").unwrap();
    fixture.commit(create_owner("acme"));
}

#[test]
fn a_failing_change_takes_its_batch_along() {
    let fixture = Fixture::with_keys([1]);
    let known = fixture.key(1);
    // Only the second change needs it.
    fixture.raw().execute_batch("DROP TABLE previous_tokens").unwrap();
    let error = fixture.sqlite.commit(&[create_owner("other"), replace(&known)]).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Corrupt);
    assert!(fixture.sqlite.owner(&owner_id("other")).unwrap().is_none());
}

#[test]
fn owners_know_how_many_keys_they_have() {
    let fixture = Fixture::with_keys(1..=3);
    let change = |edit: &dyn Fn(&mut crate::key::KeyRecord)| {
        let mut key = fixture.key(1);
        edit(&mut key);
        fixture.commit(replace(&key));
    };
    let counted = || {
        let sql = "SELECT keys_all, keys_live, keys_live_standard FROM owners";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        fixture.raw().query_row::<(u32, u32, u32), _, _>(sql, [], read).unwrap()
    };
    assert_eq!(counted(), (3, 3, 3));
    change(&|key| key.kind = crate::key::Kind::Trial);
    assert_eq!(counted(), (3, 3, 2));
    change(&|key| key.blocked = super::fixtures::switch());
    assert_eq!(counted(), (3, 3, 2));
    change(&|key| key.revoked = super::fixtures::switch());
    assert_eq!(counted(), (3, 2, 2));
    let version = fixture.key(1).version;
    let gone = crate::backend::Write::RemoveKey(KeyId::from_u128(1), version);
    let event = super::fixtures::event(crate::event::EventKind::KeyPurged);
    fixture.commit(Change::of(gone, event));
    assert_eq!(counted(), (2, 2, 2));
}
