//! A damaged or edited row is shown as such, or answered by `Corrupt`: never by a panic or a wrong
//! record.

use std::net::IpAddr;

use rusqlite::types::ValueRef;

use super::fixtures::{
    Fixture, actor, at, create_key, create_owner, event, key, limits, metadata, owner, owner_id,
    previous, replace,
};
use crate::authority::Role;
use crate::backend::sqlite::{Sqlite, SqliteOptions};
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, CommitOutcome, Damage, DamagedRecord,
    EventFilter, EventQuery, KeyFilter, KeyPageQuery, OwnerPageQuery, Rejection, Scanned, StateSet,
    UsageChange, UsageSubject, Write,
};
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::id::{Generation, KeyId, NumericId, Version};
use crate::key::{
    Alert, KeyName, LastAddress, LeaseRequest, NumberedPrefix, OwnerRecord, PepperCheck,
    PepperNumber, Prefix, PrefixNumber, PrefixTable, QuotaState, RecoveryKeyCheck, RejectKind,
    RejectedCounts, Seal, StoreMetadata, TokensValidFrom, Usage, Used,
};

/// A database in which every column of every table holds something.
fn full() -> Fixture {
    let fixture = Fixture::new();
    let number = PrefixNumber::new(0).unwrap();
    let prefix = NumberedPrefix { number, prefix: Prefix::new("acme").unwrap(), accepted: true };
    let full = StoreMetadata {
        version: Version::new(2),
        prefixes: PrefixTable::from_entries(vec![prefix]).unwrap(),
        peppers: vec![PepperCheck { number: PepperNumber::new(3), value: [1; 16], retired: false }],
        recovery_keys: vec![RecoveryKeyCheck { number: 4, value: [2; 16] }],
        tokens_valid_from: Some(TokensValidFrom::of(Timestamp::MIN)),
        ..metadata()
    };
    fixture.commit(Change::of(
        Write::ReplaceMetadata(Box::new(full)),
        event(EventKind::StoreRulesChanged),
    ));
    let owner = OwnerRecord { limits: limits(), ..owner("acme") };
    let create = Write::CreateOwner(Box::new(owner));
    fixture.commit(Change::of(create, event(EventKind::OwnerCreated)));
    let mut key = key(1, "acme");
    key.name = Some(KeyName::new("first").unwrap());
    key.numeric_id = Some(NumericId::new(5).unwrap());
    key.expires_at = Some(Timestamp::MAX);
    key.limits = limits();
    key.previous = vec![previous(1)];
    key.current = super::fixtures::token(2);
    key.seal = Some(Seal { key_number: 1, nonce: [2; 24], ciphertext: Box::from([3; 20]) });
    let mut operation = create_key(&key);
    let (owner, generation) = (key.owner, Generation::FIRST);
    operation.event.authority.role = Role::Delegate { owner, key: key.id, generation };
    operation.event.generation = Some(Generation::FIRST);
    fixture.commit(Change { operations: vec![operation], ..Change::default() });
    let told = fixture.sqlite.commit(&alerts().map(tell)).unwrap();
    assert!(told.iter().all(Result::is_ok));
    let [key, owner] = usage_of();
    let batch = [UsageChange::Add(KeyId::from_u128(1), used()), lease(key), lease(owner)];
    fixture.sqlite.record_usage(&batch).unwrap();
    fixture
}

fn usage_of() -> [UsageSubject; 2] {
    [UsageSubject::Key(KeyId::from_u128(1)), UsageSubject::Owner(owner_id("acme"))]
}

/// Everything that can be counted.
fn used() -> Used {
    let mut rejected = RejectedCounts::default();
    for (reason, count) in RejectKind::ALL.iter().copied().zip(1..) {
        rejected.add(reason, count);
    }
    let address = IpAddr::from([192, 0, 2, 1]);
    let last_address = Some(LastAddress { address, at: at(11) });
    Used { last_used_at: Some(at(12)), last_address, accepted: 13, rejected }
}

fn lease(of: UsageSubject) -> UsageChange {
    UsageChange::Lease { of, request: LeaseRequest::one(1), at: at(14) }
}

/// One of each.
fn alerts() -> [Alert; 6] {
    let generation = |number| Generation::new(number).unwrap();
    [
        Alert::Expired(at(21)),
        Alert::Expiring(at(22)),
        Alert::TokenOld(generation(2)),
        Alert::Unused(at(23)),
        Alert::PreviousTokenUsed(generation(1)),
        Alert::Rejected { at: at(24), until: at(25) },
    ]
}

fn tell(alert: Alert) -> Change {
    Change::of(Write::RecordAlert(KeyId::from_u128(1), alert), event(EventKind::KeyExpired))
}

/// The quotas' states, for which no other value may be taken.
fn quotas(fixture: &Fixture) -> Result<Vec<Option<QuotaState>>, BackendError> {
    let usage = fixture.sqlite.usage(&usage_of())?;
    Ok(usage.into_iter().map(|Usage { quota, .. }| quota).collect())
}

/// All that reads the whole of what is there. Damage that is shown is an error here.
fn read_all(fixture: &Fixture) -> Result<(), BackendError> {
    let sqlite = &fixture.sqlite;
    let mut damages = Vec::new();
    let mut note = |scanned| {
        if let Scanned::Damaged(row) = scanned {
            damages.push(row.damage);
        }
    };
    sqlite.metadata()?;
    sqlite.scan(&mut note)?;
    sqlite.scan_owner(&owner_id("acme"), &mut note)?;
    shown(fixture, damages.pop())?;
    sqlite.owner(&owner_id("acme"))?;
    sqlite.key(KeyId::from_u128(1))?;
    sqlite.key_by_numeric_id(NumericId::new(5).unwrap())?;
    let filter = |owner| KeyFilter { owner, ..KeyFilter::new(StateSet::ALL, Timestamp::MIN) };
    for owner in [None, Some(owner_id("acme"))] {
        let filter = filter(owner);
        sqlite.count_keys(&filter)?;
        let query = KeyPageQuery { filter, before: None, after: None, limit: 9, examine: 9 };
        shown(fixture, sqlite.page_keys(&query)?.damaged.pop().map(|row| row.damage))?;
    }
    let query = OwnerPageQuery::all(9);
    shown(fixture, sqlite.page_owners(&query)?.damaged.pop())?;
    let filter = EventFilter { actor: Some(actor()), ..EventFilter::default() };
    let mut page =
        sqlite.events(&EventQuery { after: 0, before: None, filter, limit: 9, examine: 9 })?;
    let damaged = page.damaged.pop().map(DamagedRecord::Event);
    shown(fixture, damaged.map(|event| Damage::new("events", "checksum", event)))?;
    sqlite.last_event()?;
    sqlite.usage(&usage_of())?;
    // A commit alone reads these.
    let stale = key(1, "acme");
    shown(fixture, refused_for(&sqlite.commit(&[replace(&stale), create_owner("other")])?))?;
    let [key, owner] = usage_of();
    sqlite.record_usage(&[lease(key), lease(owner)])?;
    shown(fixture, refused_for(&sqlite.commit(&[tell(Alert::Expired(at(31)))])?))
}

/// The damage for which a change was refused.
fn refused_for(outcome: &CommitOutcome) -> Option<Damage> {
    outcome.iter().find_map(|one| match one {
        Err(Rejection::Damaged(damage)) => Some((**damage).clone()),
        _ => None,
    })
}

fn shown(fixture: &Fixture, damage: Option<Damage>) -> Result<(), BackendError> {
    match damage {
        Some(damage) => Err(BackendError::new(BackendErrorKind::Corrupt, "sqlite", "read")
            .with_source(damage)
            .at(&fixture.path())),
        None => Ok(()),
    }
}

/// Sets one column past all checks; whether the table takes it.
fn damage(fixture: &Fixture, table: &str, column: &str, value: &str) -> bool {
    let raw = fixture.raw();
    raw.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    raw.execute(&format!("UPDATE {table} SET {column} = {value}"), []).is_ok()
}

#[test]
fn every_column_is_checked() {
    let intact = full();
    let whole = quotas(&intact).unwrap();
    assert!(whole.iter().all(Option::is_some));
    read_all(&intact).unwrap();
    let raw = intact.raw();
    let columns: Vec<(String, String)> = raw
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table'",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(columns.len() > 120, "{}", columns.len());
    // Values of any type, and values of the right type that the column can't hold.
    let bad = ["-1", "9223372036854775807", "x'00'", "''", "'a' || char(7)", "x''"];
    let mut noticed = 0;
    for (table, column) in &columns {
        for value in bad {
            let fixture = full();
            if !damage(&fixture, table, column, value) {
                continue;
            }
            let place = format!("{table}.{column} = {value}");
            // A damaged id can't be noticed: the row is then another record's, or no record's.
            if !["key_id", "owner"].contains(&column.as_str())
                && let (Ok(quotas), true) = (quotas(&fixture), table.ends_with("_usage"))
            {
                assert_eq!(quotas, whole, "{place}");
            }
            // Some values are good ones there; a bad one is said to be, and nothing panics.
            if let Err(error) = read_all(&fixture) {
                assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{place}");
                assert_eq!(error.place(), Some(fixture.path().as_path()), "{place}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 200, "{noticed}");
}

/// Otherwise a column of usage is tried that holds nothing.
#[test]
fn the_full_database_is_full() {
    let fixture = full();
    let raw = fixture.raw();
    for table in ["key_usage", "owner_usage"] {
        let sql = format!("SELECT * FROM {table}");
        let mut statement = raw.prepare(&sql).unwrap();
        let names: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let row = rows.next().unwrap().unwrap();
        for (at, name) in names.iter().enumerate() {
            let value = row.get_ref(at).unwrap();
            let is_empty = matches!(value, ValueRef::Null | ValueRef::Integer(0));
            let zeros = ["quota_debt", "quota_period", "quota_turn"];
            let may_be_zero = zeros.contains(&name.as_str()) || name.starts_with("quota_raised");
            assert!(!is_empty || may_be_zero, "{table}.{name}");
        }
    }
}

#[test]
fn damaged_usage_is_named_by_its_column() {
    let table = [
        ("key_usage", "last_used_at", "-1"),
        ("key_usage", "last_used_at", "9223372036854775807"),
        ("key_usage", "accepted", "-1"),
        ("key_usage", "address", "'canary'"),
        ("key_usage", "address", "'192.0.2.07'"),
        ("key_usage", "address_at", "NULL"),
        ("key_usage", "suspended", "-1"),
        ("key_usage", "address_missing", "-1"),
        ("key_usage", "quota_exhausted", "-1"),
        ("key_usage", "alerted_expired", "-5"),
        ("key_usage", "alerted_trial_ending", "9223372036854775807"),
        ("key_usage", "alerted_token_old", "0"),
        ("key_usage", "alerted_unused", "-1"),
        ("key_usage", "alerted_previous_token_used", "4294967296"),
        ("key_usage", "alerted_rejected", "-1"),
        ("key_usage", "quota_left", "-1"),
        ("key_usage", "quota_checksum", "NULL"),
        ("key_usage", "quota_checksum", "quota_checksum + 1"),
        ("owner_usage", "quota_period", "-1"),
        ("owner_usage", "quota_checksum", "quota_checksum + 1"),
    ];
    for (table, column, value) in table {
        let fixture = full();
        assert!(damage(&fixture, table, column, value), "{table}.{column}");
        let error = read_all(&fixture).expect_err(column);
        assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{table}.{column}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(table) && shown.contains(column), "{column}: {shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn what_is_damaged_is_named_without_its_value() {
    let table = [
        ("keys", "digest", "x'abcd'"),
        ("keys", "access", "'canary'"),
        ("keys", "owner", "'a' || char(7)"),
        ("keys", "kind", "'canary'"),
        ("keys", "expires_at", "-5"),
        ("keys", "generation", "0"),
        ("keys", "prefix", "64"),
        ("keys", "scheme", "2"),
        ("keys", "settings", "'[]'"),
        ("keys", "state", "2"),
        ("keys", "seal_key", "NULL"),
        ("keys", "limited", "0"),
        ("keys", "not_before_by", "NULL"),
        ("keys", "networks", "'192.0.2.7/24'"),
        ("keys", "networks", "'192.0.2.0/24'"),
        ("keys", "rate_burst", "NULL"),
        ("keys", "rate_per_ms", "1"),
        ("keys", "quota_refill_period", "'year'"),
        ("keys", "quota_refill", "NULL"),
        ("keys", "quota_version", "2"),
        ("keys", "quota_by", "'canary'"),
        ("owners", "limited", "0"),
        ("owners", "rate_count", "NULL"),
        ("owners", "quota_uses", "1099511627776"),
        ("keys", "seal_nonce", "x'ab'"),
        ("previous_tokens", "digest", "x''"),
        ("owners", "max_access", "'limited:'"),
        ("owners", "defaults", "'{'"),
        ("owners", "keys_all", "-1"),
        ("peppers", "check_value", "x''"),
        ("prefixes", "number", "1"),
        ("events", "kind", "0"),
        ("events", "acting_owner", "NULL"),
    ];
    for (table, column, value) in table {
        let fixture = full();
        assert!(damage(&fixture, table, column, value), "{table}.{column}");
        let error = read_all(&fixture).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{table}.{column}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(table), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn a_lying_index_or_counter_is_noticed_by_a_commit() {
    let fixture = full();
    fixture.raw().execute("DELETE FROM owners", []).unwrap();
    let key = fixture.key(1);
    // The rules answer first: the owner is missing.
    assert!(fixture.sqlite.commit(&[replace(&key)]).unwrap()[0].is_err());

    let fixture = full();
    fixture.raw().execute("DELETE FROM numeric_ids", []).unwrap();
    let id = NumericId::new(5).unwrap();
    assert!(fixture.sqlite.key_by_numeric_id(id).unwrap().is_none());

    let fixture = full();
    fixture.raw().execute_batch("DROP TABLE keys").unwrap();
    let error = fixture.sqlite.key(KeyId::from_u128(1)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Corrupt);
}

/// Other good values, each of which would be believed if nothing vouched for the one that was
/// there.
#[test]
fn a_value_that_is_another_is_noticed() {
    let table = [
        "UPDATE keys SET expires_at = expires_at - 1",
        "UPDATE keys SET expires_at = NULL",
        "UPDATE keys SET access = 'read_only'",
        "UPDATE keys SET digest = zeroblob(32)",
        "UPDATE keys SET pepper = pepper + 1",
        "UPDATE keys SET prefix = prefix + 1",
        "UPDATE keys SET issued_at = issued_at + 1",
        "UPDATE keys SET owner = 'other'",
        "UPDATE keys SET kind = 'trial'",
        "UPDATE keys SET blocked_at = 1, blocked_by = 'somebody', state = 2",
        "UPDATE keys SET name = 'second'",
        "UPDATE keys SET version = version + 1",
        "UPDATE keys SET settings = '{\"a\":1}'",
        "UPDATE keys SET seal_text = zeroblob(20)",
        "UPDATE keys SET created_by = 'somebody'",
        "UPDATE previous_tokens SET ends_at = ends_at + 1",
        "UPDATE previous_tokens SET generation = 3",
        "DELETE FROM previous_tokens",
        "UPDATE owners SET suspended_at = 1, suspended_by = 'somebody'",
        "UPDATE owners SET max_access = 'read_only'",
        "UPDATE owners SET tokens_valid_from = 5, epoch = 0, epoch_ended_at = 0, epochs_swept = 0, \
         epochs_invalidated = 0",
        "UPDATE owners SET max_keys = max_keys + 1",
        "UPDATE store SET tokens_valid_from = NULL, epoch = NULL, epoch_ended_at = NULL, \
         epochs_swept = NULL, epochs_invalidated = NULL",
        "UPDATE keys SET owner_epoch = owner_epoch + 1",
        "UPDATE previous_tokens SET since = since + 1",
        "UPDATE store SET unique_names = 1 - unique_names",
        "UPDATE prefixes SET accepted = 0",
        "UPDATE peppers SET number = 4",
        "DELETE FROM peppers",
        "UPDATE events SET actor = 'somebody'",
        "UPDATE events SET at = at + 1",
        "UPDATE key_usage SET quota_left = quota_left + 1",
        "UPDATE key_usage SET quota_version = quota_version + 1",
        "UPDATE key_usage SET quota_period = quota_period + 1",
        "UPDATE owner_usage SET quota_left = quota_left + 1",
        "UPDATE owner_usage SET (quota_left, quota_checksum) =
           (SELECT quota_left, quota_checksum FROM key_usage)",
    ];
    for sql in table {
        let fixture = full();
        assert!(fixture.raw().execute(sql, []).unwrap() > 0, "{sql}");
        let error = read_all(&fixture).expect_err(sql);
        assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{sql}");
    }
}

#[test]
fn a_lost_metadata_is_not_begun_anew() {
    for lost in ["store", "store; DELETE FROM events", "store; DELETE FROM keys"] {
        let fixture = full();
        fixture.raw().execute_batch(&format!("DELETE FROM {lost}")).unwrap();
        fixture.sqlite.close().unwrap();
        let options = SqliteOptions::exclusive();
        for refused in [
            Sqlite::create(fixture.path(), options),
            Sqlite::open(fixture.path(), options),
            Sqlite::open_or_create(fixture.path(), options).map(|(sqlite, _)| sqlite),
        ] {
            assert_eq!(refused.unwrap_err().kind(), BackendErrorKind::Corrupt, "{lost}");
        }
    }
}
